/** Why a consumer that has granted permits hears nothing. */
import * as Effect from "effect/Effect"
import { MessageId } from "@perigee/proto/wire"
import type { PulsarError } from "../PulsarError.ts"
import type { ConsumerPart } from "./ConsumerPart.ts"
import { idOf } from "./idOf.ts"

/**
 * What is wrong, in one line; `undefined` when nothing is: there is no backlog, it has been delivered and waits for its acknowledgements, it is
 * with other consumers of the subscription, or the broker holds this one back for what it has not acknowledged.
 */
export const reasonOfSilence = (part: ConsumerPart): Effect.Effect<string | undefined, PulsarError> =>
  Effect.gen(function*() {
    const { slot } = part
    const { consumerStatsResponse: stats } = yield* part.brokerStats
    if (stats === undefined || stats.blockedConsumerOnUnackedMsgs) return undefined
    const known = !Object.hasOwn(stats, "errorCode") && Object.hasOwn(stats, "availablePermits")
    if (known && Object.hasOwn(stats, "msgBacklog") && stats.msgBacklog === 0n) return undefined
    if (known && BigInt.asIntN(64, stats.availablePermits) <= 0n) {
      return `the broker has no permits of ${slot.balance} that were granted`
    }
    // Where several share, what is missing here may be with the others, or wait for the turn of its key.
    if (slot.isSharedType || slot.isActive === false) return undefined
    const { getLastMessageIdResponse: response } = yield* part.lastMessageId
    if (response?.lastMessageId === undefined) return undefined
    const last = MessageId.entryOf(idOf(response.lastMessageId))
    if (last.entry < 0n) return undefined
    const marked = response.consumerMarkDeletePosition
    const reached = [
      ...(slot.lastDelivered === undefined ? [] : [slot.lastDelivered]),
      ...(marked === undefined ? [] : [idOf(marked)])
    ]
    return reached.some(({ entry, ledger }) => ledger > last.ledger || (ledger === last.ledger && entry >= last.entry))
      ? undefined
      : `entry ${MessageId.format(last)} of the topic was not delivered`
  })
