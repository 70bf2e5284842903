/**
 * One connection to a broker without its socket: bytes and the time go in, bytes, deadlines and events come out.
 *
 * The contract of its driver: after every call take what `pollTransmit` gives and write it, drain `pollEvent`, and come back at
 * `pollTimeout`. Nothing here waits, reads a clock or draws a random number; every table and queue has a limit.
 *
 * @since 0.1.0
 */
import { Consumers } from "./connection/Consumers.ts"
import { type ConnectionEvent, Events, NO_ANSWER, truncate } from "./connection/Events.ts"
import { type ConnectionState, type Credentials, Handshake } from "./connection/Handshake.ts"
import { Keepalive } from "./connection/Keepalive.ts"
import { Lookups } from "./connection/Lookup.ts"
import { Producers } from "./connection/Producers.ts"
import { type RequestOutcome, Requests } from "./connection/Requests.ts"
import { Session } from "./connection/Session.ts"
import { Outbox } from "./internal/Outbox.ts"
import * as ReadMemory from "./ReadMemory.ts"
import { type AllowList, isAllowed } from "./ServiceUrl.ts"
import * as Commands from "./wire/Commands.ts"
import * as Frame from "./wire/Frame.ts"
import type { BaseCommand } from "./wire/gen/PulsarApi_pb.ts"
import { CommandTopicMigrated_ResourceType } from "./wire/gen/PulsarApi_pb.ts"
import { WireFormatError } from "./wire/WireFormatError.ts"

const need = <A>(message: A | undefined): A => {
  if (message === undefined) throw new WireFormatError("MissingField", "a command without its message")
  return message
}

/** All times in milliseconds. @category models @since 0.1.0 */
export interface ConnectionOptions {
  /** What the client calls itself. Default `perigee`. */
  readonly clientVersion: string
  /** `host:port` of the broker, when the other end is a proxy. */
  readonly proxyTarget: string | undefined
  /** Without a frame for so long, a ping; for twice as long, the connection is given up. 0 for never. Default 30,000. */
  readonly keepalive: number
  /** How long a request may take. Default 30,000. */
  readonly operationTimeout: number
  /** Requests that may wait for an answer. Default 50,000. */
  readonly maxRequests: number
  /** Whether URLs for TLS are the ones to use. */
  readonly tls: boolean
  /** Where a migrated topic may send this client. Default anywhere. */
  readonly redirects: AllowList
}

/** @category constants @since 0.1.0 */
export const defaultOptions: ConnectionOptions = {
  clientVersion: "perigee",
  proxyTarget: undefined,
  keepalive: 30_000,
  operationTimeout: 30_000,
  maxRequests: 50_000,
  tls: false,
  redirects: { _tag: "Any" }
}

/** Why a connection failed. @category models @since 0.1.0 */
export type ConnectionFailure =
  | { readonly _tag: "Protocol"; readonly error: WireFormatError }
  | { readonly _tag: "Silent" }
  | { readonly _tag: "Lost"; readonly why: string }

/** @category models @since 0.1.0 */
export class Connection {
  readonly options: ConnectionOptions
  readonly lookups: Lookups
  readonly producers: Producers
  readonly consumers: Consumers
  /** Why the state is `failed`. */
  failure: ConnectionFailure | undefined = undefined
  /** Sessions so far: grows with each `reset`. */
  sessionEpoch = 0
  readonly #events = new Events()
  readonly #outbox = new Outbox()
  readonly #requests: Requests
  readonly #session: Session
  readonly #handshake: Handshake
  readonly #keepalive: Keepalive
  readonly #decoder = new Frame.FrameDecoder()

  constructor(options: Partial<ConnectionOptions> = {}) {
    this.options = { ...defaultOptions, ...options }
    this.#requests = new Requests(this.#events, this.options.maxRequests)
    this.#session = new Session(
      this.#events,
      this.#requests,
      this.#outbox,
      this.options.operationTimeout,
      Frame.DEFAULT_MAX_MESSAGE_SIZE
    )
    this.#handshake = new Handshake(this.#session, this.options.clientVersion, this.options.proxyTarget)
    this.#keepalive = new Keepalive(this.options.keepalive)
    this.lookups = new Lookups(this.#session)
    this.producers = new Producers(this.#session)
    this.consumers = new Consumers(this.#session)
  }

  get state(): ConnectionState {
    return this.#handshake.state
  }

  /** CONNECTED was seen on this session, and it is not over. */
  get isConnected(): boolean {
    return this.#session.isConnected
  }

  /** What the broker said when it refused the connection. */
  get refusal(): { readonly code: number; readonly message: string } | undefined {
    return this.#handshake.refusal
  }

  get serverVersion(): string {
    return this.#handshake.serverVersion
  }

  /** Largest message of the broker, metadata included. */
  get maxMessageSize(): number {
    return this.#session.maxMessageSize
  }

  /** Informative events that nobody read in time. */
  get droppedEvents(): number {
    return this.#events.dropped
  }

  /** Bytes staged and not yet taken. */
  get stagedBytes(): number {
    return this.#outbox.bytes
  }

  /** Whether there is an event to read or something to write. */
  get hasWork(): boolean {
    return this.#outbox.bytes > 0 || this.#events.length > 0
  }

  /** Requests that wait for an answer. */
  get pendingRequests(): number {
    return this.#requests.size
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // The five verbs

  /**
   * Takes bytes of the socket, which belong to the connection from now on, with the share that `ReadMemory.send` gave them, if it did. A stream that
   * cannot be understood ends the connection: `state` is then `failed` and `failure` says why.
   */
  handleBytes(now: number, bytes: Uint8Array): void {
    if (this.state === "failed" || this.state === "closing") return
    try {
      this.#decoder.push(bytes)
      while (this.#decoder.next()) {
        this.#keepalive.frame(now)
        this.#frame(now)
      }
      ReadMemory.received(bytes)
    } catch (error) {
      if (!(error instanceof WireFormatError)) throw error
      this.#fail({ _tag: "Protocol", error })
    }
  }

  /** Does everything that is due at `now`; may be called early and often. */
  handleTimeout(now: number): void {
    if (this.#session.isConnected) {
      const due = this.#keepalive.tick(now)
      if (due === "ping") this.#outbox.push(Commands.ping())
      else if (due === "dead") this.#fail({ _tag: "Silent" })
    }
    this.consumers.tick(now)
    this.producers.tick(now)
    for (const request of this.#requests.expire(now)) this.#ended(now, request.kind, request.id, { _tag: "TimedOut" })
  }

  /**
   * Bytes to write, about `limit` at most, in segments; empty when there is nothing. Call again after they are written. They may be written over once the
   * broker has confirmed what is in them.
   */
  pollTransmit(limit = 256 * 1024): Array<Uint8Array> {
    if (this.#outbox.bytes < limit) this.producers.stage(limit - this.#outbox.bytes)
    return this.#outbox.take(limit)
  }

  /** When `handleTimeout` has to be called, `Infinity` for not at all. */
  pollTimeout(): number {
    return Math.min(
      this.#session.isConnected ? this.#keepalive.deadline : Infinity,
      this.consumers.nextDeadline(),
      this.producers.nextDeadline(),
      this.#requests.nextDeadline()
    )
  }

  /** The oldest event, `undefined` when there is none. */
  pollEvent(): ConnectionEvent | undefined {
    return this.#events.poll()
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // Life

  /** Begins the handshake on a fresh socket. */
  begin(now: number, credentials: Credentials): void {
    this.#keepalive.start(now)
    this.#handshake.begin(credentials)
  }

  /** Answers an `AuthChallenge`. */
  respond(credentials: Credentials): void {
    if (this.state !== "failed" && this.state !== "closing") this.#handshake.respond(credentials)
  }

  /** No new work; what is staged still goes out. */
  close(): void {
    this.#handshake.state = "closing"
  }

  /** The socket is gone. Nothing is settled yet: `reset` or `terminate` says how. */
  disconnected(why: string): void {
    if (this.state !== "closing") this.#fail({ _tag: "Lost", why: truncate(why) })
    this.#session.isConnected = false
  }

  /**
   * Makes ready for another socket: requests end as lost, producers and consumers are detached and wait to be opened again, with
   * everything that has no receipt.
   */
  reset(): void {
    this.sessionEpoch++
    this.#session.isConnected = false
    this.#requests.settleAll({ _tag: "SessionLost" })
    this.#events.clear()
    this.producers.detach()
    this.consumers.detach()
    this.lookups.reset()
    this.#outbox.clear()
    this.#decoder.reset()
    this.#keepalive.stop()
    this.#session.maxMessageSize = Frame.DEFAULT_MAX_MESSAGE_SIZE
    this.#decoder.ceiling = Frame.DEFAULT_MAX_MESSAGE_SIZE + Frame.FRAME_PADDING
    this.#handshake.state = "idle"
    this.failure = undefined
  }

  /** There will be no other socket: everything ends, and says so. */
  terminate(why: string): void {
    this.#session.isConnected = false
    this.#requests.settleAll({ _tag: "Terminal", reason: why })
    for (const slot of this.producers.slots) slot.failAll(why, this.#events)
    for (const slot of this.consumers.slots) slot.state = "closed"
    if (this.state !== "failed") this.#handshake.state = "closing"
  }

  #fail(failure: ConnectionFailure): void {
    if (this.state === "failed") return
    this.failure = failure
    this.#handshake.state = "failed"
    this.#session.isConnected = false
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // Frames

  #frame(now: number): void {
    const { buffer, commandEnd, commandStart, frameEnd } = this.#decoder
    const type = Commands.peekType(buffer, commandStart, commandEnd)
    switch (type) {
      case Commands.Type.MESSAGE:
        this.consumers.message(now, buffer, commandStart, commandEnd, frameEnd)
        return
      case Commands.Type.SEND_RECEIPT:
        this.producers.receipt(Commands.readSendReceipt(buffer, commandStart, commandEnd))
        return
      case Commands.Type.PING:
        this.#outbox.push(Commands.pong())
        return
      case Commands.Type.PONG:
        return
      default:
        // Who keeps what of it is not followed: its memory stays.
        ReadMemory.retain(buffer)
        this.#command(now, Commands.decode(buffer.subarray(commandStart, commandEnd)))
    }
  }

  #command(now: number, command: BaseCommand): void {
    const type = Commands.Type
    const { tls } = this.options
    switch (command.type) {
      case type.CONNECTED:
        this.#handshake.connected(command)
        this.#decoder.ceiling = Math.max(Frame.DEFAULT_MAX_MESSAGE_SIZE, this.#session.maxMessageSize) +
          Frame.FRAME_PADDING
        return
      case type.AUTH_CHALLENGE:
        return this.#handshake.challenge(command)
      case type.PRODUCER_SUCCESS:
        return this.producers.opened(command)
      case type.SEND_ERROR:
        return this.producers.sendError(command)
      case type.CLOSE_PRODUCER:
        return this.producers.closedByBroker(command, tls)
      case type.CLOSE_CONSUMER:
        return this.consumers.closedByBroker(command, tls)
      case type.REACHED_END_OF_TOPIC:
        return this.consumers.endOfTopic(command)
      case type.ACTIVE_CONSUMER_CHANGE:
        return this.consumers.activeChanged(now, command)
      case type.WATCH_TOPIC_UPDATE:
        return this.lookups.changed(command)
      case type.TOPIC_MIGRATED:
        return this.#migrated(command)
      case type.ERROR: {
        const { error, message, requestId } = need(command.error)
        this.#handshake.refused(error, message)
        return this.#answer(now, requestId, { _tag: "Failed", failure: { code: error, message: truncate(message) } })
      }
      case type.ACK_RESPONSE: {
        const response = need(command.ackResponse)
        const failed = Object.hasOwn(response, "error") ||
          (Object.hasOwn(response, "message") && response.message !== "")
        return this.#answer(
          now,
          response.requestId,
          failed
            ? { _tag: "Failed", failure: { code: response.error, message: truncate(response.message) } }
            : { _tag: "Reply", command }
        )
      }
      case type.SUCCESS:
        return this.#answer(now, need(command.success).requestId, { _tag: "Reply", command })
      case type.LOOKUP_RESPONSE:
        return this.#answer(now, need(command.lookupTopicResponse).requestId, { _tag: "Reply", command })
      case type.PARTITIONED_METADATA_RESPONSE:
        return this.#answer(now, need(command.partitionMetadataResponse).requestId, { _tag: "Reply", command })
      case type.GET_LAST_MESSAGE_ID_RESPONSE:
        return this.#answer(now, need(command.getLastMessageIdResponse).requestId, { _tag: "Reply", command })
      case type.GET_TOPICS_OF_NAMESPACE_RESPONSE:
        return this.#answer(now, need(command.getTopicsOfNamespaceResponse).requestId, { _tag: "Reply", command })
      case type.GET_SCHEMA_RESPONSE:
        return this.#answer(now, need(command.getSchemaResponse).requestId, { _tag: "Reply", command })
      case type.CONSUMER_STATS_RESPONSE:
        return this.#answer(now, need(command.consumerStatsResponse).requestId, { _tag: "Reply", command })
      case type.WATCH_TOPIC_LIST_SUCCESS:
        return this.#answer(now, need(command.watchTopicListSuccess).requestId, { _tag: "Reply", command })
      default:
        // Commands of the protocol that a client has no use for.
        return
    }
  }

  #answer(now: number, requestId: bigint, outcome: RequestOutcome): void {
    const id = Number(requestId)
    const request = this.#requests.settle(id, outcome)
    if (request !== undefined) this.#ended(now, request.kind, id, outcome)
  }

  #ended(now: number, kind: ReturnType<Requests["add"]>["kind"], id: number, outcome: RequestOutcome): void {
    const failure = outcome._tag === "Failed"
      ? outcome.failure
      : outcome._tag === "TimedOut"
      ? { code: NO_ANSWER, message: "no answer in time" }
      : undefined
    switch (kind._tag) {
      case "OpenProducer":
        if (failure !== undefined) this.producers.openFailed(now, kind.producerId, id, failure)
        return
      case "Subscribe":
        if (failure !== undefined) this.consumers.subscribeFailed(now, kind.consumerId, id, failure)
        else this.consumers.subscribed(now, kind.consumerId, id)
        return
      case "Seek":
        // A session that is lost takes the seek with it: the consumer is detached then, and subscribes again.
        if (outcome._tag === "Reply" || failure !== undefined) {
          this.consumers.sought(now, kind.consumerId, failure === undefined)
        }
        return
      case "Unsubscribe":
        if (failure === undefined) this.consumers.unsubscribed(kind.consumerId)
        return
      default:
        return
    }
  }

  #migrated(command: BaseCommand): void {
    const migrated = command.topicMigrated
    if (migrated === undefined) return
    const url = truncate(this.options.tls ? migrated.brokerServiceUrlTls : migrated.brokerServiceUrl)
    const urls = [migrated.brokerServiceUrl, migrated.brokerServiceUrlTls].filter((candidate) => candidate !== "")
    if (!urls.some((candidate) => isAllowed(this.options.redirects, candidate))) {
      this.#events.push({ _tag: "RedirectRejected", url })
      return
    }
    this.#events.push({
      _tag: "TopicMigrated",
      resource: migrated.resourceType === CommandTopicMigrated_ResourceType.Producer ? "producer" : "consumer",
      id: Number(migrated.resourceId),
      url
    })
  }
}
