/** Positions as requests answer them. */
import { MessageId } from "@perigee/proto/wire"

/** A position of the wire, whose unsigned numbers are read with their sign. */
export const idOf = (data: {
  readonly ledgerId: bigint
  readonly entryId: bigint
  readonly partition: number
  readonly batchIndex: number
  readonly batchSize: number
}): MessageId.MessageId =>
  MessageId.make(
    BigInt.asIntN(64, data.ledgerId),
    BigInt.asIntN(64, data.entryId),
    data.partition,
    data.batchIndex,
    data.batchSize
  )
