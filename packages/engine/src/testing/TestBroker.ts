/**
 * An Apache Pulsar broker inside the process, for tests of programs that use one: the real wire protocol over memory links or sockets, deterministic
 * under a test clock, with trouble on request.
 *
 * @stability unstable
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import * as NetAddress from "effect/net/NetAddress"
import * as SocketServer from "effect/socket/SocketServer"
import { ServiceUrl } from "@perigee/proto"
import { Frame } from "@perigee/proto/wire"
import { Transport } from "../driver/Transport.ts"
import { PulsarClient, type PulsarClientOptions } from "../PulsarClient.ts"
import type { PulsarError } from "../PulsarError.ts"
import { Cluster, type LookupAnswer } from "./core/Cluster.ts"
import type { CursorState } from "./core/Cursor.ts"
import { type Failure, isFailure } from "./core/Failure.ts"
import type { FaultRule } from "./core/Faults.ts"
import { challenge } from "./core/handlers/Connecting.ts"
import type { SchemaCompatibility } from "./core/SchemaRegistry.ts"
import type { Topic } from "./core/Topic.ts"
import * as TopicName from "./core/TopicName.ts"
import * as MemoryLink from "./MemoryLink.ts"
import { now } from "./now.ts"
import * as SocketSession from "./SocketSession.ts"

/**
 * What an operator asked for and the broker refused: a topic that does not exist, fewer partitions than there are.
 *
 * @category errors
 * @since 0.1.0
 */
export class TestBrokerError extends Data.TaggedError("TestBrokerError")<{
  /** Name of the protocol's error code. */
  readonly code: string
  readonly message: string
}> {}

/**
 * @category models
 * @since 0.1.0
 */
export interface TestBrokerOptions {
  /** Brokers of the cluster, 1 to 16. Default 1. Topics are spread over them by name; see {@link TestBroker} `assign`. */
  readonly brokers?: number | undefined
  /** Make topics when a producer or consumer opens them. Default `true`. */
  readonly autoCreateTopics?: boolean | undefined
  /** Broker-side deduplication for new topics. Default `false`. */
  readonly deduplication?: boolean | undefined
  /** Which new schemas topics admit. Default `"FULL"`. */
  readonly schemaCompatibility?: SchemaCompatibility | undefined
  /** Tokens that are let in. Default: everybody is. */
  readonly tokens?: ReadonlyArray<string> | undefined
  /** Largest message, bytes. Default 5 MiB. */
  readonly maxMessageSize?: number | undefined
  /** Entries kept a topic; publishing beyond is refused while a subscription has not acknowledged the oldest. Default 100,000. */
  readonly maxEntries?: number | undefined
  /** Bytes kept a topic, likewise. Default 256 MiB. */
  readonly maxBytes?: number | undefined
  /** Topics and partitions together. Default 10,000. */
  readonly maxTopics?: number | undefined
  /** Client connections at a time. Default 1,000. */
  readonly maxConnections?: number | undefined
  /** Messages a consumer of a Shared or Key_Shared subscription may hold unacknowledged. Default 50,000. */
  readonly maxUnackedMessages?: number | undefined
  /** Bytes that may wait for one connection before dispatch to it pauses. Default 8 MiB; at eight times that it is closed. */
  readonly maxOutbox?: number | undefined
  /** Silence on a socket after which a client is pinged; after twice as much it is taken for gone. Memory links need none. Default 30 seconds. */
  readonly keepAlive?: Duration.Input | undefined
}

/**
 * An entry as a topic holds it.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredEntry {
  readonly ledger: number
  readonly entry: number
  readonly producer: string
  readonly sequenceId: bigint
  /** Messages inside: the size of a batch, 1 without one. */
  readonly messages: number
  readonly partitionKey: string | undefined
  /** Milliseconds since the epoch, by the producer's clock. */
  readonly publishTime: number
  /** As sent: compressed when the producer compresses, with a prefix a message in a batch. */
  readonly payload: Uint8Array
}

/**
 * A subscription at one moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface SubscriptionStats {
  readonly type: string | undefined
  readonly durable: boolean
  /** Messages not acknowledged, whether sent or not. */
  readonly backlog: number
  readonly consumers: ReadonlyArray<{ readonly name: string; readonly permits: number; readonly unacked: number }>
}

/**
 * A topic at one moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface TopicStats {
  readonly entries: number
  readonly producers: ReadonlyArray<string>
  readonly subscriptions: Readonly<Record<string, SubscriptionStats>>
}

/**
 * The cluster under test. Brokers are numbered from 0; topics go by short or full name.
 *
 * @category services
 * @since 0.1.0
 */
export class TestBroker extends Context.Service<TestBroker, {
  /** Service address of the first broker. */
  readonly serviceUrl: string
  readonly serviceUrls: ReadonlyArray<string>
  /** A memory link to the broker at an address (`pulsar://…` or `host:port`); every acquired reader is a connection. Unknown addresses refuse. */
  readonly dial: (url: string) => Socket.Socket
  /** Serves one accepted connection until it ends. */
  readonly handle: (socket: Socket.Socket, broker?: number) => Effect.Effect<void>
  /** Listens on the given server, whose address becomes the broker's, as long as the scope lives. Gives the new service address. */
  readonly listen: (broker?: number) => Effect.Effect<string, never, SocketServer.SocketServer | Scope.Scope>

  readonly createTopic: (topic: string) => Effect.Effect<void, TestBrokerError>
  /** Makes a partitioned topic, or gives an existing one more partitions. */
  readonly setPartitions: (topic: string, count: number) => Effect.Effect<void, TestBrokerError>
  readonly deleteTopic: (topic: string) => Effect.Effect<void, TestBrokerError>
  /** Gives a topic, with all its partitions, to a broker. Who is attached stays; see `unload`. */
  readonly assign: (topic: string, broker: number) => Effect.Effect<void, TestBrokerError>
  /** Closes everyone attached, who have to look the topic up again. With `to` it moves; with `tell` they are told where. */
  readonly unload: (
    topic: string,
    options?: { readonly to?: number; readonly tell?: boolean }
  ) => Effect.Effect<void, TestBrokerError>
  /** Tells everyone attached that the topic is at another cluster (PIP-188). */
  readonly migrate: (topic: string, serviceUrl: string) => Effect.Effect<void, TestBrokerError>
  /** No more messages: consumers that have everything are told the topic has ended. */
  readonly terminate: (topic: string) => Effect.Effect<void, TestBrokerError>
  readonly compact: (topic: string) => Effect.Effect<void, TestBrokerError>
  readonly setDeduplication: (topic: string, on: boolean) => Effect.Effect<void, TestBrokerError>
  readonly setSchemaCompatibility: (rule: SchemaCompatibility) => Effect.Effect<void>

  /** Tokens that are let in from now on. */
  readonly setTokens: (tokens: ReadonlyArray<string>) => Effect.Effect<void>
  /** Asks every client to authenticate again. */
  readonly challenge: Effect.Effect<void>
  /** Decides the answers of lookups; `undefined` from the function, or no function, leaves them to the cluster. */
  readonly answerLookups: (
    answer: ((topic: string, broker: number) => LookupAnswer | undefined) | undefined
  ) => Effect.Effect<void>
  /** Adds trouble; the result takes it away again. */
  readonly fault: (rule: FaultRule) => Effect.Effect<Effect.Effect<void>>
  readonly clearFaults: Effect.Effect<void>
  /** How many commands faults have caught. */
  readonly faultsCaught: Effect.Effect<number>

  /** Breaks every connection, or those of one broker; nothing else is lost. */
  readonly disconnect: (broker?: number) => Effect.Effect<void>
  /** Remembers the acknowledgements of all durable subscriptions, as brokers do now and then. */
  readonly checkpoint: Effect.Effect<void>
  /**
   * A broker's process dies. Messages, schemas, deduplication and durable subscriptions stay; connections, redelivery counts and subscriptions that are
   * not durable are gone. With `cursors: "checkpoint"` acknowledgements since the last `checkpoint` are lost too, as with a real broker.
   */
  readonly kill: (broker?: number, options?: { readonly cursors?: "kept" | "checkpoint" }) => Effect.Effect<void>
  readonly start: (broker?: number) => Effect.Effect<void>
  /** `kill` and `start`. */
  readonly restart: (broker?: number) => Effect.Effect<void>

  readonly connections: Effect.Effect<number>
  readonly topics: (namespace: string) => Effect.Effect<ReadonlyArray<string>>
  readonly stats: (topic: string) => Effect.Effect<TopicStats, TestBrokerError>
  /** What a topic holds, oldest first. */
  readonly stored: (topic: string) => Effect.Effect<ReadonlyArray<StoredEntry>, TestBrokerError>
}>()("@perigee/engine/testing/TestBroker") {
  /** @since 0.1.0 */
  static readonly make = (options: TestBrokerOptions = {}): Effect.Effect<TestBroker["Service"], never, Scope.Scope> =>
    make(options)
  /** @since 0.1.0 */
  static readonly layer = (options: TestBrokerOptions = {}): Layer.Layer<TestBroker> =>
    Layer.effect(TestBroker, make(options))

  /**
   * Dials the testing broker in place of a network.
   *
   * @since 0.1.0
   */
  static readonly layerTransport: Layer.Layer<Transport, never, TestBroker> = Layer.effect(
    Transport,
    Effect.map(
      TestBroker,
      (broker) =>
        Transport.of({ socket: ({ address }) => Effect.sync(() => broker.dial(ServiceUrl.formatAddress(address))) })
    )
  )

  /**
   * A client of the testing broker, over memory links. `serviceUrl` is the cluster's unless given.
   *
   * @since 0.1.0
   */
  static readonly layerClient = (
    options: Partial<Omit<PulsarClientOptions, "tls">> = {}
  ): Layer.Layer<PulsarClient, PulsarError, TestBroker> =>
    Layer.unwrap(
      Effect.map(TestBroker, ({ serviceUrls }) => {
        const serviceUrl = `pulsar://${serviceUrls.map((url) => url.slice("pulsar://".length)).join(",")}`
        return PulsarClient.layerTransport({ serviceUrl, ...options })
      })
    ).pipe(Layer.provide(TestBroker.layerTransport))
}

const defaultLimits = {
  maxTopics: 10_000,
  maxConnections: 1000,
  maxMessageSize: Frame.DEFAULT_MAX_MESSAGE_SIZE,
  maxUnacked: 50_000,
  maxOutbox: 8 * 1024 * 1024,
  maxEntries: 100_000,
  maxBytes: 256 * 1024 * 1024,
  maxAttached: 10_000,
  maxSchemaVersions: 1000
}

const make = Effect.fn("TestBroker.make")(function*(options: TestBrokerOptions) {
  const count = Math.min(Math.max(Math.trunc(options.brokers ?? 1), 1), 16)
  const cluster = new Cluster(
    {
      ...defaultLimits,
      maxTopics: options.maxTopics ?? defaultLimits.maxTopics,
      maxConnections: options.maxConnections ?? defaultLimits.maxConnections,
      maxMessageSize: options.maxMessageSize ?? defaultLimits.maxMessageSize,
      maxUnacked: options.maxUnackedMessages ?? defaultLimits.maxUnacked,
      maxOutbox: options.maxOutbox ?? defaultLimits.maxOutbox,
      maxEntries: options.maxEntries ?? defaultLimits.maxEntries,
      maxBytes: options.maxBytes ?? defaultLimits.maxBytes
    },
    {
      autoCreateTopics: options.autoCreateTopics ?? true,
      deduplication: options.deduplication ?? false,
      schemaCompatibility: options.schemaCompatibility ?? "FULL",
      tokens: options.tokens === undefined ? undefined : new Set(options.tokens)
    },
    Array.from({ length: count }, (_, index) => `pulsar://broker-${index}.test:6650`)
  )
  let cursors: ReadonlyMap<string, ReadonlyMap<string, CursorState>> = new Map()
  yield* timers(cluster)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const { sessions } of cluster.nodes) for (const session of sessions) session.abort()
    })
  )

  const keepAlive = Duration.toMillis(Duration.fromInputUnsafe(options.keepAlive ?? "30 seconds"))
  const node = (broker = 0) => cluster.nodes[broker] ?? cluster.nodes[0]!
  /** Runs an operator's action at the present time; a refusal becomes an error. */
  const act = <A>(action: () => A | Failure): Effect.Effect<A, TestBrokerError> =>
    Effect.flatMap(now, (at) => {
      cluster.now = Math.max(cluster.now, at)
      const result = action()
      return isFailure(result)
        ? Effect.fail(new TestBrokerError({ code: result.code, message: result.message }))
        : Effect.succeed(result)
    })
  const named = (name: string) => TopicName.normalise(name) ?? name
  const existing = <A>(name: string, use: (topic: Topic) => A) =>
    act(() => {
      const topic = cluster.topic(named(name), false)
      return isFailure(topic) ? topic : use(topic)
    })
  const existingWithParts = (name: string, use: (topic: string) => void) =>
    act(() => {
      const full = named(name)
      const parts = cluster.partitioned.get(full)
      if (parts === undefined) {
        const topic = cluster.topic(full, false)
        if (isFailure(topic)) return topic
        return use(full)
      }
      for (let part = 0; part < parts; part++) use(TopicName.partitionName(full, part))
      return undefined
    })
  const kill: TestBroker["Service"]["kill"] = (broker, options) =>
    Effect.sync(() => cluster.kill(node(broker), options?.cursors === "checkpoint" ? cursors : undefined))
  const start = (broker?: number) => Effect.sync(() => cluster.revive(node(broker)))

  return TestBroker.of({
    get serviceUrl() {
      return cluster.nodes[0]!.serviceUrl
    },
    get serviceUrls() {
      return cluster.nodes.map(({ serviceUrl }) => serviceUrl)
    },
    dial: (url) => {
      const authority = (text: string) => text.replace(/^[a-z+]+:\/\//, "")
      return MemoryLink.make(
        cluster,
        cluster.nodes.find(({ serviceUrl }) => authority(serviceUrl) === authority(url)),
        url
      )
    },
    handle: (socket, broker) => SocketSession.serve(cluster, node(broker), socket, keepAlive),
    listen: Effect.fn("TestBroker.listen")(function*(broker?: number) {
      const server = yield* SocketServer.SocketServer
      const target = node(broker)
      if (NetAddress.isInetAddress(server.address)) {
        target.serviceUrl = `pulsar://${NetAddress.formatInet(server.address)}`
      }
      yield* Effect.forkScoped(
        server.run((socket) => SocketSession.serve(cluster, target, socket, keepAlive)).pipe(
          Effect.ignoreCause({ log: "Error" })
        )
      )
      return target.serviceUrl
    }),
    createTopic: (topic) =>
      act(() => {
        const made = cluster.topic(named(topic), true)
        return isFailure(made) ? made : undefined
      }),
    setPartitions: (topic, partitions) => act(() => cluster.setPartitions(named(topic), partitions)),
    deleteTopic: (topic) => act(() => cluster.remove(named(topic))),
    assign: (topic, broker) => act(() => cluster.assign(named(topic), broker)),
    unload: (topic, options) =>
      existingWithParts(topic, (name) => cluster.unload(name, options?.to, options?.tell ?? false)),
    migrate: (topic, serviceUrl) =>
      existingWithParts(topic, (name) => cluster.topics.get(name)?.migrate({ serviceUrl, serviceUrlTls: undefined })),
    terminate: (topic) => existingWithParts(topic, (name) => cluster.topics.get(name)?.terminate(cluster.now)),
    compact: (topic) => existingWithParts(topic, (name) => cluster.topics.get(name)?.compact()),
    setDeduplication: (topic, on) =>
      existingWithParts(topic, (name) => {
        const found = cluster.topics.get(name)
        if (found !== undefined) found.deduplicates = on
      }),
    setSchemaCompatibility: (rule) =>
      Effect.sync(() => {
        cluster.policies.schemaCompatibility = rule
      }),
    setTokens: (tokens) =>
      Effect.sync(() => {
        cluster.policies.tokens = new Set(tokens)
      }),
    challenge: Effect.sync(() => {
      for (const { sessions } of cluster.nodes) for (const session of sessions) challenge(session)
    }),
    answerLookups: (answer) =>
      Effect.sync(() => {
        cluster.lookup = answer === undefined ? undefined : (topic, asked) => answer(topic, asked.index)
      }),
    fault: (rule) =>
      Effect.sync(() => {
        const remove = cluster.faults.add(rule.topic === undefined ? rule : { ...rule, topic: named(rule.topic) })
        return Effect.sync(remove)
      }),
    clearFaults: Effect.sync(() => cluster.faults.clear()),
    faultsCaught: Effect.sync(() => cluster.faults.caught),
    disconnect: (broker) =>
      Effect.sync(() => {
        for (const { index, sessions } of cluster.nodes) {
          if (broker === undefined || broker === index) { for (const session of sessions) session.abort() }
        }
      }),
    checkpoint: Effect.sync(() => {
      cursors = cluster.checkpoint()
    }),
    kill,
    start,
    restart: (broker) => Effect.andThen(kill(broker), start(broker)),
    connections: Effect.sync(() => cluster.nodes.reduce((sum, { sessions }) => sum + sessions.size, 0)),
    topics: (namespace) => Effect.sync(() => cluster.topicsOf(namespace)),
    stats: (topic) => existing(topic, statsOf),
    stored: (topic) => existing(topic, storedIn)
  })
})

/** Runs what is due, whenever it is: sleeps until the earliest deadline or until there is an earlier one. */
const timers = (cluster: Cluster) => {
  const changed = Latch.makeUnsafe(false)
  cluster.onWork = () => changed.openUnsafe()
  const turn = Effect.gen(function*() {
    changed.closeUnsafe()
    const at = yield* now
    cluster.advance(at)
    const due = cluster.nextDue
    if (due === undefined) yield* changed.await
    else yield* Effect.raceFirst(changed.await, Effect.sleep(Math.max(due - at, 0)))
  })
  return Effect.forkScoped(Effect.forever(turn), { startImmediately: true })
}

const statsOf = (topic: Topic): TopicStats => ({
  entries: topic.log.end - topic.log.start,
  producers: [...topic.producers.keys()],
  subscriptions: Object.fromEntries(
    [...topic.subscriptions.values()].map((subscription) => [subscription.name, {
      type: subscription.type,
      durable: subscription.durable,
      backlog: subscription.backlog,
      consumers: subscription.consumers.map(({ name, permits, unacked }) => ({ name, permits, unacked }))
    }])
  )
})

const storedIn = (topic: Topic): ReadonlyArray<StoredEntry> =>
  [...topic.log.from(topic.log.start)].map(({ entry, ledger, messages, metadata, section }) => {
    const { metadataEnd, payloadEnd } = Frame.readPayload(section, 0, section.length)
    return {
      ledger,
      entry,
      messages,
      producer: metadata.producerName,
      sequenceId: metadata.sequenceId,
      partitionKey: metadata.partitionKey,
      publishTime: metadata.publishTime,
      payload: section.slice(metadataEnd, payloadEnd)
    }
  })
