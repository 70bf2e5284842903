/**
 * A client that speaks single commands: for scripts that say what goes over the wire, and look at what comes back.
 */
import { Api, Batch, Commands, Frame, type MessageId, Metadata, ProtoWriter } from "@perigee/proto/wire"
import { Data, Effect, Latch, type Scope } from "effect"
import { Socket } from "effect/socket"

export class WireTimeout extends Data.TaggedError("WireTimeout")<{ readonly message: string }> {}

/** A received command with only the fields that were on the wire: numbers beyond 32 bits as strings, bytes as hex. */
export type Plain = Record<string, unknown>

export interface ReceivedMessage {
  readonly delivery: Commands.Delivery
  readonly metadata: Metadata.MessageMetadata
  readonly brokerEntry: Metadata.BrokerEntryMetadata | undefined
  readonly payload: Uint8Array
}

export interface Received {
  readonly type: keyof typeof Commands.Type
  /** The command's message. */
  readonly body: Plain
  readonly message: ReceivedMessage | undefined
}

export interface SendOptions {
  readonly producerId?: number
  readonly sequenceId: number
  readonly payload: string
  readonly metadata?: Partial<Metadata.MessageMetadata>
  /** Payloads of a batch instead of the one payload. */
  readonly batch?: ReadonlyArray<string>
  readonly highestSequenceId?: number
  readonly corrupt?: boolean
}

const encoder = new TextEncoder()
const typeNames = new Map(
  Object.entries(Commands.Type).map(([name, number]) => [number as number, name as keyof typeof Commands.Type])
)

const plain = (value: unknown): unknown => {
  if (typeof value === "bigint") return BigInt.asIntN(64, value).toString()
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex")
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value).filter(([key, inner]) =>
      !key.startsWith("$") && !(Array.isArray(inner) && inner.length === 0)
    )
      .map(([key, inner]) => [key, plain(inner)])
  )
}

export class WireClient {
  readonly inbox: Array<Received> = []
  closed = false
  readonly #writer: Socket.Writer
  readonly #work = Latch.makeUnsafe(false)
  #requests = 0n

  private constructor(writer: Socket.Writer) {
    this.#writer = writer
  }

  static readonly open = Effect.fn("WireClient.open")(function*(socket: Socket.Socket) {
    const pull = yield* Socket.readerBytes(socket)
    const client = new WireClient(yield* socket.writer)
    yield* client.#read(pull).pipe(Effect.forkScoped)
    return client
  })

  /** Opens and shakes hands, with every capability a client may claim. */
  static readonly connected = (
    socket: Socket.Socket
  ): Effect.Effect<WireClient, Socket.SocketError | WireTimeout, Scope.Scope> =>
    Effect.flatMap(WireClient.open(socket), (client) =>
      client.write({
        type: Commands.Type.CONNECT,
        connect: {
          clientVersion: "script",
          protocolVersion: 21,
          featureFlags: {
            supportsAuthRefresh: true,
            supportsBrokerEntryMetadata: true,
            supportsPartialProducer: true,
            supportsGetPartitionedMetadataWithoutAutoCreation: true
          }
        }
      }).pipe(Effect.andThen(client.next("CONNECTED")), Effect.as(client)))

  #read(pull: Effect.Effect<ReadonlyArray<Uint8Array>, Socket.SocketError>) {
    const decoder = new Frame.FrameDecoder(6 * 1024 * 1024)
    return Effect.gen({ self: this }, function*() {
      while (true) {
        for (const chunk of yield* pull) {
          decoder.push(chunk.slice())
          while (decoder.next()) {
            const { buffer, commandEnd, commandStart, frameEnd } = decoder
            this.#take(buffer.slice(commandStart, commandEnd), buffer.slice(commandEnd, frameEnd))
          }
        }
      }
    }).pipe(
      Effect.catchTag("SocketError", () =>
        Effect.sync(() => {
          this.closed = true
          this.#work.openUnsafe()
        }))
    )
  }

  #take(command: Uint8Array, section: Uint8Array): void {
    const decoded = Commands.decode(command)
    const type = typeNames.get(decoded.type)!
    const body = plain(
      Object.entries(decoded).find(([key, value]) => key !== "type" && !key.startsWith("$") && value !== undefined)?.[1]
    )
    let message: ReceivedMessage | undefined
    if (type === "MESSAGE") {
      const payload = Frame.readPayload(section, 0, section.length)
      if (payload.expected === payload.computed) {
        message = {
          delivery: Commands.readDelivery(command, 0, command.length),
          metadata: Metadata.read(section, payload.metadataStart, payload.metadataEnd),
          brokerEntry: payload.brokerEntry,
          payload: section.slice(payload.metadataEnd, payload.payloadEnd)
        }
      }
    }
    if (type === "PING") {
      Effect.runFork(Effect.ignore(this.write({ type: Commands.Type.PONG, pong: {} })))
      return
    }
    this.inbox.push({ type, body: (body ?? {}) as Plain, message })
    this.#work.openUnsafe()
  }

  nextRequestId(): bigint {
    return this.#requests++
  }

  write(command: Commands.CommandInit): Effect.Effect<void, Socket.SocketError> {
    return this.#writer.write(Commands.encode(command))
  }

  writeBytes(bytes: Uint8Array): Effect.Effect<void, Socket.SocketError> {
    return this.#writer.write(bytes)
  }

  /** Waits for the next command of a kind, taking it out of what has arrived; others stay. */
  next(
    type: keyof typeof Commands.Type,
    matches: (received: Received) => boolean = () => true
  ): Effect.Effect<Received, WireTimeout> {
    const look: Effect.Effect<Received, WireTimeout> = Effect.suspend(() => {
      const at = this.inbox.findIndex((received) => received.type === type && matches(received))
      if (at >= 0) return Effect.succeed(this.inbox.splice(at, 1)[0]!)
      if (this.closed) return new WireTimeout({ message: `connection closed while waiting for ${type}` })
      this.#work.closeUnsafe()
      return Effect.andThen(this.#work.await, look)
    })
    return look.pipe(Effect.timeoutOrElse({
      duration: "30 seconds",
      orElse: () =>
        new WireTimeout({
          message: `no ${type} in 30 s; arrived: ${this.inbox.map((received) => received.type).join(", ")}`
        })
    }))
  }

  /** Waits until the other side ends the connection. */
  readonly ended: Effect.Effect<void, WireTimeout> = Effect.suspend(() => this.#awaitEnd())

  #awaitEnd(): Effect.Effect<void, WireTimeout> {
    const look: Effect.Effect<void> = Effect.suspend(() => {
      if (this.closed) return Effect.void
      this.#work.closeUnsafe()
      return Effect.andThen(this.#work.await, look)
    })
    return look.pipe(Effect.timeoutOrElse({
      duration: "30 seconds",
      orElse: () => new WireTimeout({ message: "the connection stays open" })
    }))
  }

  /** Sends a request and waits for its answer, whether that is a success of the given kind or an ERROR. */
  request(
    answer: keyof typeof Commands.Type,
    make: (requestId: bigint) => Commands.CommandInit
  ): Effect.Effect<Received, Socket.SocketError | WireTimeout> {
    const requestId = this.nextRequestId()
    const mine = (received: Received) => received.body["requestId"] === requestId.toString()
    const either: Effect.Effect<Received, WireTimeout> = Effect.suspend(() => {
      const at = this.inbox.findIndex((received) =>
        (received.type === answer || received.type === "ERROR") && mine(received)
      )
      if (at >= 0) return Effect.succeed(this.inbox.splice(at, 1)[0]!)
      if (this.closed) return new WireTimeout({ message: `connection closed while waiting for ${answer}` })
      this.#work.closeUnsafe()
      return Effect.andThen(this.#work.await, either)
    })
    return Effect.andThen(
      this.write(make(requestId)),
      either.pipe(Effect.timeoutOrElse({
        duration: "30 seconds",
        orElse: () =>
          new WireTimeout({
            message: `no ${answer}; arrived: ${this.inbox.map((received) => received.type).join(", ")}`
          })
      }))
    )
  }

  // The commands that scripts use most.

  lookup(topic: string) {
    return this.request("LOOKUP_RESPONSE", (requestId) => ({
      type: Commands.Type.LOOKUP,
      lookupTopic: { topic, requestId, authoritative: false }
    }))
  }

  partitions(topic: string, create = true) {
    return this.request("PARTITIONED_METADATA_RESPONSE", (requestId) => ({
      type: Commands.Type.PARTITIONED_METADATA,
      partitionMetadata: { topic, requestId, metadataAutoCreationEnabled: create }
    }))
  }

  producer(topic: string, options: Omit<NonNullable<Commands.CommandInit["producer"]>, "$typeName" | "topic"> = {}) {
    return Effect.andThen(
      this.lookup(topic),
      this.request("PRODUCER_SUCCESS", (requestId) => ({
        type: Commands.Type.PRODUCER,
        producer: { topic, producerId: 0n, requestId, ...options } as NonNullable<Commands.CommandInit["producer"]>
      }))
    )
  }

  subscribe(
    topic: string,
    subscription: string,
    options: Omit<NonNullable<Commands.CommandInit["subscribe"]>, "$typeName"> = {}
  ) {
    return Effect.andThen(
      this.lookup(topic),
      this.request("SUCCESS", (requestId) => ({
        type: Commands.Type.SUBSCRIBE,
        subscribe: {
          topic,
          subscription,
          subType: Api.CommandSubscribe_SubType.Exclusive,
          consumerId: 0n,
          requestId,
          durable: true,
          initialPosition: Api.CommandSubscribe_InitialPosition.Earliest,
          ...options
        } as NonNullable<Commands.CommandInit["subscribe"]>
      }))
    )
  }

  flow(permits: number, consumerId = 0) {
    return this.writeBytes(Commands.encodeFlow(consumerId, permits))
  }

  ack(
    ids: ReadonlyArray<MessageId.MessageId>,
    options: { readonly cumulative?: boolean; readonly ackSet?: ReadonlyArray<bigint>; readonly consumerId?: number } =
      {}
  ) {
    return this.request("ACK_RESPONSE", (requestId) => ({
      type: Commands.Type.ACK,
      ack: {
        consumerId: BigInt(options.consumerId ?? 0),
        ackType: options.cumulative === true ? Api.CommandAck_AckType.Cumulative : Api.CommandAck_AckType.Individual,
        messageId: ids.map((id) => ({
          ledgerId: BigInt.asUintN(64, id.ledger),
          entryId: BigInt.asUintN(64, id.entry),
          ackSet: [...options.ackSet ?? []]
        })),
        requestId
      }
    }))
  }

  send(options: SendOptions): Effect.Effect<void, Socket.SocketError> {
    const { batch, producerId = 0, sequenceId } = options
    const writer = new ProtoWriter(256)
    let payload: Uint8Array = encoder.encode(options.payload)
    if (batch !== undefined) {
      const builder = new Batch.BatchBuilder()
      for (const text of batch) {
        const bytes = encoder.encode(text)
        builder.add({
          properties: [],
          partitionKey: undefined,
          payloadSize: bytes.length,
          compactedOut: false,
          eventTime: 0,
          partitionKeyB64: false,
          orderingKey: undefined,
          sequenceId: undefined,
          nullValue: false,
          nullPartitionKey: false
        }, bytes)
      }
      const { end, memory, start } = builder.take()
      payload = memory.slice(start, end)
    }
    Metadata.write(writer, {
      ...Metadata.empty(),
      producerName: "script",
      sequenceId: BigInt(sequenceId),
      publishTime: 1_700_000_000_000 + sequenceId,
      batchSize: batch?.length,
      ...options.metadata
    })
    const metadata = writer.copy()
    const command = new ProtoWriter(64)
    Commands.writeSend(command, {
      producerId,
      sequenceId: BigInt(sequenceId),
      numMessages: batch?.length ?? 1,
      highestSequenceId: options.highestSequenceId === undefined ? undefined : BigInt(options.highestSequenceId),
      isChunk: options.metadata?.chunkId !== undefined,
      txnLeast: undefined,
      txnMost: undefined
    })
    const frames = Frame.encodePayload(command.copy(), metadata, payload, 0, payload.length)
    const bytes = Buffer.concat(frames)
    if (options.corrupt === true) bytes[bytes.length - 1]! ^= 0xff
    return this.writeBytes(bytes)
  }

  /** Sends and waits for receipt or error. */
  sent(options: SendOptions): Effect.Effect<Received, Socket.SocketError | WireTimeout> {
    const answered = ({ body }: Received) => body["sequenceId"] === String(options.sequenceId)
    return Effect.andThen(
      this.send(options),
      Effect.raceFirst(this.next("SEND_RECEIPT", answered), this.next("SEND_ERROR", answered))
    )
  }
}
