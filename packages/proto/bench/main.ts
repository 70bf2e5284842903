/** The protocol alone, without socket, broker or Effect: `npm run bench -- proto`. */
import { measure, type Measured, report, versus } from "../../../bench/harness.ts"
import { Connection, ConsumerSlot, type ConsumerSpec, ProducerSlot, type SendCompletion } from "../src/index.ts"
import { ProtoWriter } from "../src/internal/ProtoWriter.ts"
import { Batch, Commands, Crc32c, Frame, Metadata } from "../src/wire/index.ts"

const timed = (count: number, f: () => void): number => {
  globalThis.gc?.()
  const start = performance.now()
  f()
  return (count / (performance.now() - start)) * 1000
}

const payload = (size: number) => Uint8Array.from({ length: size }, (_, index) => index & 0xff)

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

const producer = (connection: Connection, batching: boolean) => {
  const slot = new ProducerSlot(1, {
    topic: "persistent://public/default/t",
    name: undefined,
    accessMode: 0,
    properties: [],
    schema: undefined,
    initialSequenceId: undefined,
    initialSubscription: undefined,
    batching: batching ? { maxMessages: 1000, maxBytes: 4 << 20, maxDelay: 1 } : undefined,
    chunking: false,
    compression: "none",
    sendTimeout: 30_000,
    maxPending: 10_000,
    chunkSeed: "b"
  }, Frame.DEFAULT_MAX_MESSAGE_SIZE)
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
const send = (size: number, batching: boolean, count: number) => () => {
  const connection = connected()
  const slot = producer(connection, batching)
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
      const step = batching ? Math.min(1000, sent - acknowledged) : 1
      const frames: Array<Uint8Array> = []
      for (; acknowledged < sent; acknowledged += step) {
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
      }
      connection.handleBytes(0, Buffer.concat(frames))
      drain(connection)
    }
  })
  if (settled !== count) throw new Error(`${settled} of ${count} settled`)
  return rate
}

const spec: ConsumerSpec = {
  topic: "t",
  subscription: "s",
  type: "shared",
  name: undefined,
  durable: true,
  initialPosition: "earliest",
  startMessageId: undefined,
  startRollback: 0,
  readCompacted: false,
  priorityLevel: undefined,
  properties: [],
  subscriptionProperties: [],
  schema: undefined,
  keyShared: undefined,
  forceTopicCreation: true,
  replicateSubscriptionState: false,
  receiverQueue: 1000,
  ackTimeout: 0,
  ackGroupTime: 100,
  batchIndexAck: false,
  chunks: { maxPending: 10, expireAfter: 60_000, maxBytes: 1 << 20 },
  autoAckOldestChunk: false,
  stallTimeout: 0
}

/** Receives through the whole state machine: frame, checksum, queue, take, individual ack, grouped ack command. */
const receive = (size: number, batch: number, count: number) => {
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
    const slot = new ConsumerSlot(1, spec)
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

const crc = (size: number) => {
  const bytes = payload(size + 8)
  return () => {
    const rounds = Math.ceil(200_000_000 / size)
    let sum = 0
    // By the processor's time: nothing waits here, and a machine with other work says nothing about a checksum.
    const before = process.cpuUsage().user
    for (let round = 0; round < rounds; round++) sum ^= Crc32c.update(0, bytes, round & 3, size)
    const seconds = (process.cpuUsage().user - before) / 1e6
    if (sum === -1) throw new Error("never")
    return (rounds * size) / seconds / 1e9
  }
}

const row = async (
  work: string,
  unit: string,
  f: () => number,
  goal?: { text: string; met: (ours: number) => boolean }
) => {
  const measured: Measured = await measure(f, 5, 2)
  return versus(work, unit, measured, goal === undefined ? {} : { goal })
}

const million = 1_000_000
report("proto", [
  await row("send 100 B batched, state machine and back", "msg/s", send(100, true, 2 * million), {
    text: "> 450 k/s (a Kafka client's class)",
    met: (ours) => ours > 450_000
  }),
  await row("send 1 KB batched", "msg/s", send(1024, true, million)),
  await row("send 100 B singly", "msg/s", send(100, false, 300_000), {
    text: "> 95 k/s (a Kafka client's class)",
    met: (ours) => ours > 95_000
  }),
  await row("receive 100 B batched, acked one by one", "msg/s", receive(100, 1000, 2 * million)),
  await row("receive 1 KB batched, acked one by one", "msg/s", receive(1024, 100, million)),
  await row("receive 100 B singly, acked one by one", "msg/s", receive(100, 1, 500_000)),
  await row("CRC32C of 1 KB", "GB per CPU second", crc(1024)),
  await row("CRC32C of 100 B", "GB per CPU second", crc(100))
])
