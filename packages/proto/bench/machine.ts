/** The protocol alone, without socket, broker or Effect: what the benches of this package and of the client measure. */
import { Connection, type SendCompletion } from "../src/index.ts"
import { ProtoWriter } from "../src/internal/ProtoWriter.ts"
import { Batch, Commands, Frame, Metadata } from "../src/wire/index.ts"
import { consumer, producer as producerSlot } from "../test/support/Broker.ts"

/** Operations a second. */
export const timed = (count: number, f: () => void): number => {
  globalThis.gc?.()
  const start = performance.now()
  f()
  return (count / (performance.now() - start)) * 1000
}

export const payload = (size: number) => Uint8Array.from({ length: size }, (_, index) => index & 0xff)

const connected = () => {
  const connection = new Connection({ keepalive: 0 })
  connection.begin(0, { method: "none", data: undefined })
  connection.pollTransmit()
  connection.handleBytes(0, Commands.encode({ type: Commands.Type.CONNECTED, connected: { serverVersion: "b" } }))
  drain(connection)
  return connection
}

const drain = (connection: Connection) => {
  for (let event = connection.pollEvent(); event !== undefined; event = connection.pollEvent()) {
    if (event._tag === "SendDone") event.complete()
  }
}

/** Bytes of a batch, as the client has it, and how many messages of a size surely are in one. */
const BATCH = 128 * 1024
const perBatch = (size: number) => Math.min(1000, Math.floor(BATCH / (size + 32)))

const producer = (connection: Connection, maxMessages: number) => {
  const slot = producerSlot({
    batching: maxMessages > 1 ? { maxMessages, maxBytes: BATCH, maxDelay: 1, byKey: false } : undefined,
    maxPending: 10_000
  }, 1)
  connection.producers.open(0, slot)
  connection.handleBytes(
    0,
    Commands.encode({
      type: Commands.Type.PRODUCER_SUCCESS,
      producerSuccess: { requestId: BigInt(slot.openRequest!), producerName: "p-1" }
    })
  )
  drain(connection)
  connection.pollTransmit()
  return slot
}

/** Sends through the whole state machine: enqueue, frame, transmit, receipt, settle. */
export const send = (size: number, batching: boolean, count: number) => () => {
  const connection = connected()
  const each = batching ? perBatch(size) : 1
  const slot = producer(connection, each)
  const body = payload(size)
  let settled = 0
  const completion: SendCompletion = { onSend: (_outcome, _first, n) => void (settled += n) }
  const receipt = new ProtoWriter(64)
  const rate = timed(count, () => {
    let sent = 0
    let acknowledged = 0
    while (acknowledged < count) {
      while (sent < count && slot.enqueue(0, 1, { payload: body }, completion, 0) === undefined) sent++
      slot.flush()
      while (connection.pollTransmit().length > 0);
      // The broker's answers: one an entry.
      const frames: Array<Uint8Array> = []
      while (acknowledged < sent) {
        const step = Math.min(each, sent - acknowledged)
        receipt.reset()
        receipt.uintField(1, Commands.Type.SEND_RECEIPT)
        receipt.varint((Commands.Type.SEND_RECEIPT << 3) | 2)
        receipt.ensure(1)
        const at = receipt.position++
        receipt.uintField(1, 1)
        receipt.uintField(2, acknowledged)
        receipt.varint((3 << 3) | 2)
        receipt.ensure(1)
        const inner = receipt.position++
        receipt.uintField(1, 7)
        receipt.uintField(2, acknowledged)
        receipt.closeLength(inner)
        receipt.uintField(4, acknowledged + step - 1)
        receipt.closeLength(at)
        frames.push(Frame.encodeCommand(receipt.view()))
        acknowledged += step
      }
      connection.handleBytes(0, Buffer.concat(frames))
      drain(connection)
    }
  })
  if (settled !== count) throw new Error(`${settled} of ${count} settled`)
  return rate
}

/** Receives through the whole state machine: frame, checksum, queue, take, individual ack, grouped ack command. */
export const receive = (size: number, batch: number, count: number) => {
  const builder = new Batch.BatchBuilder()
  const single = {
    properties: [],
    partitionKey: undefined,
    payloadSize: size,
    compactedOut: false,
    eventTime: 0,
    partitionKeyB64: false,
    orderingKey: undefined,
    sequenceId: 1n,
    nullValue: false,
    nullPartitionKey: false
  }
  const body = payload(size)
  for (let index = 0; index < batch; index++) {
    if (batch === 1) builder.put(body)
    else builder.add(single, body)
  }
  const { end, memory, start } = builder.take()
  const metadata = new ProtoWriter(64)
  Metadata.write(metadata, {
    ...Metadata.empty(),
    producerName: "p-1",
    publishTime: 1,
    batchSize: batch === 1 ? undefined : batch
  })
  const frames = Array.from({ length: Math.ceil(64 / batch) }, (_, entry) => {
    const command = Commands.encodeBare({
      type: Commands.Type.MESSAGE,
      message: { consumerId: 1n, messageId: { ledgerId: 7n, entryId: BigInt(entry) } }
    })
    return Buffer.concat(Frame.encodePayload(command, metadata.view(), memory, start, end, start))
  })
  const chunk = Buffer.concat(frames)
  const perChunk = frames.length * batch
  return () => {
    const connection = connected()
    const slot = consumer({ type: "shared", receiverQueue: 1000 }, 1)
    connection.consumers.subscribe(0, slot)
    connection.handleBytes(
      0,
      Commands.encode({ type: Commands.Type.SUCCESS, success: { requestId: BigInt(slot.openRequest!) } })
    )
    let seen = 0
    const rate = timed(count, () => {
      for (let round = 0; seen < count; round++) {
        connection.handleBytes(0, chunk)
        for (const message of connection.consumers.take(0, slot, 10_000)) {
          slot.ack(0, message)
          seen++
        }
        if (round % 20 === 0) connection.consumers.flushAcks(0, slot)
        connection.pollTransmit()
        drain(connection)
      }
    })
    if (seen < count || perChunk === 0) throw new Error("not everything was received")
    return rate
  }
}
