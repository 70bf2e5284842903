/**
 * The brokers of a test, and what they share: topics, storage, policies. Synchronous; `now` comes with every call.
 */
import type { CursorState } from "./Cursor.ts"
import { fail, type Failure, isFailure } from "./Failure.ts"
import { Faults } from "./Faults.ts"
import { murmur } from "./Murmur.ts"
import type { Redirect } from "./Outlet.ts"
import type { SchemaCompatibility } from "./SchemaRegistry.ts"
import { Session } from "./Session.ts"
import { Topic, type TopicLimits } from "./Topic.ts"
import * as TopicName from "./TopicName.ts"
import { Watchers } from "./Watchers.ts"

export interface ClusterLimits extends TopicLimits {
  readonly maxTopics: number
  readonly maxConnections: number
  /** Largest message, bytes of metadata and payload together. */
  readonly maxMessageSize: number
  /** Messages a consumer of a Shared or Key_Shared subscription may hold unacknowledged. */
  readonly maxUnacked: number
  /** Bytes waiting for one connection above which nothing more is dispatched or read; at eight times that it is closed. */
  readonly maxOutbox: number
}

export interface ClusterPolicies {
  autoCreateTopics: boolean
  /** For topics made from now on. */
  deduplication: boolean
  schemaCompatibility: SchemaCompatibility
  /** Tokens that are let in; `undefined` lets everybody in. */
  tokens: ReadonlySet<string> | undefined
}

export interface Node {
  readonly index: number
  serviceUrl: string
  readonly sessions: Set<Session>
  up: boolean
}

/** What a lookup is answered, when a test decides it. */
export type LookupAnswer =
  | {
    readonly _tag: "Connect" | "Redirect"
    readonly serviceUrl: string
    readonly authoritative?: boolean | undefined
    /** The broker is to be reached through the address that was asked. */
    readonly throughProxy?: boolean | undefined
  }
  | { readonly _tag: "Failed"; readonly failure: Failure }

export class Cluster {
  readonly limits: ClusterLimits
  readonly policies: ClusterPolicies
  readonly nodes: ReadonlyArray<Node>
  readonly faults = new Faults()
  readonly watchers = new Watchers()
  readonly topics = new Map<string, Topic>()
  readonly partitioned = new Map<string, number>()
  readonly #assigned = new Map<string, number>()
  readonly #timers: Array<{ readonly at: number; readonly order: number; readonly run: () => void }> = []
  #timerOrder = 0
  /** Called when {@link nextDue} may have become earlier. */
  onWork: () => void = () => {}
  lookup: ((topic: string, node: Node) => LookupAnswer | undefined) | undefined
  now = 0
  #ledgers = 0
  #producerNames = 0
  #sessions = 0

  constructor(limits: ClusterLimits, policies: ClusterPolicies, serviceUrls: ReadonlyArray<string>) {
    this.limits = limits
    this.policies = policies
    this.nodes = serviceUrls.map((serviceUrl, index) => ({ index, serviceUrl, sessions: new Set(), up: true }))
  }

  /** A new connection to a broker, `undefined` when that is down or full. */
  connect(node: Node, now: number): Session | undefined {
    this.now = Math.max(this.now, now)
    const open = this.nodes.reduce((sum, { sessions }) => sum + sessions.size, 0)
    if (!node.up || open >= this.limits.maxConnections) return undefined
    const session = new Session(this, node, this.#sessions++)
    node.sessions.add(session)
    return session
  }

  nextProducerName(node: Node): string {
    return `standalone-${node.index}-${this.#producerNames++}`
  }

  /** Broker that serves a topic: the assigned one, else by a hash of its name among those that are up. */
  ownerOf(topic: string): Node | undefined {
    const assigned = this.nodes[this.#assigned.get(topic) ?? this.#assigned.get(TopicName.baseOf(topic)) ?? -1]
    if (assigned?.up === true) return assigned
    const up = this.nodes.filter((node) => node.up)
    return up[murmur(TopicName.namespaceOf(topic) + TopicName.baseOf(topic)) % Math.max(up.length, 1)]
  }

  /** A topic by its full name, made when it is missing and `create` says so. */
  topic(name: string, create: boolean): Topic | Failure {
    const existing = this.topics.get(name)
    if (existing !== undefined) return existing
    if (!TopicName.isPersistent(name)) return fail("NotAllowedError", "this broker has persistent topics only")
    if (this.partitioned.has(name)) return fail("NotAllowedError", `${name} is a partitioned topic: use its partitions`)
    const partition = TopicName.partitionOf(name)
    const known = partition >= 0 && partition < (this.partitioned.get(TopicName.baseOf(name)) ?? 0)
    if (!known && !(create && this.policies.autoCreateTopics)) {
      return fail("TopicNotFound", `Topic ${name} does not exist`)
    }
    if (this.topics.size >= this.limits.maxTopics) {
      return fail("NotAllowedError", "the broker has as many topics as it keeps")
    }
    const topic = new Topic(name, this.limits, this.#ledgers++, this.policies.deduplication, () => this.onWork())
    this.topics.set(name, topic)
    this.watchers.changed([name], [])
    return topic
  }

  /** Names of a namespace's topics, those of partitioned topics as their partitions. */
  topicsOf(namespace: string): ReadonlyArray<string> {
    const names = new Set<string>()
    for (const name of this.topics.keys()) if (TopicName.namespaceOf(name) === namespace) names.add(name)
    for (const [base, count] of this.partitioned) {
      if (TopicName.namespaceOf(base) !== namespace) continue
      for (let partition = 0; partition < count; partition++) names.add(TopicName.partitionName(base, partition))
    }
    return [...names].sort()
  }

  // What an operator does.

  setPartitions(name: string, count: number): Failure | undefined {
    const before = this.partitioned.get(name) ?? 0
    if (this.topics.has(name)) return fail("NotAllowedError", `${name} exists without partitions`)
    if (count < before) return fail("NotAllowedError", "partitions never become fewer")
    this.partitioned.set(name, count)
    const added = Array.from({ length: count - before }, (_, at) => TopicName.partitionName(name, before + at))
    for (const partition of added) {
      const topic = this.topic(partition, true)
      if (isFailure(topic)) return topic
    }
    return undefined
  }

  remove(name: string): void {
    const names = this.partitioned.has(name)
      ? Array.from({ length: this.partitioned.get(name)! }, (_, at) => TopicName.partitionName(name, at))
      : [name]
    this.partitioned.delete(name)
    for (const each of names) {
      this.topics.get(each)?.disconnect(undefined)
      this.topics.delete(each)
    }
    this.watchers.changed([], names)
  }

  assign(topic: string, node: number): void {
    this.#assigned.set(topic, node)
  }

  /** Moves a topic: everyone attached is told to look it up again, or where it went. */
  unload(name: string, node: number | undefined, tell: boolean): void {
    if (node !== undefined) this.#assigned.set(name, node)
    const owner = node === undefined ? undefined : this.nodes[node]
    const redirect: Redirect | undefined = tell && owner !== undefined
      ? { serviceUrl: owner.serviceUrl, serviceUrlTls: undefined }
      : undefined
    const topic = this.topics.get(name)
    topic?.disconnect(redirect)
    topic?.log.roll(this.#ledgers++)
  }

  /** A broker's process dies: its connections break, and what its topics held in memory is gone. */
  kill(node: Node, cursors: ReadonlyMap<string, ReadonlyMap<string, CursorState>> | undefined): void {
    const owned = [...this.topics.values()].filter((topic) => this.ownerOf(topic.name) === node)
    node.up = false
    for (const session of node.sessions) session.abort()
    for (const topic of owned) topic.recover(this.#ledgers++, cursors?.get(topic.name))
  }

  revive(node: Node): void {
    node.up = true
  }

  /** Durable cursors of all topics as they are now. */
  checkpoint(): ReadonlyMap<string, ReadonlyMap<string, CursorState>> {
    const topics = new Map<string, ReadonlyMap<string, CursorState>>()
    for (const topic of this.topics.values()) {
      const cursors = new Map<string, CursorState>()
      for (const { cursor, durable, name } of topic.subscriptions.values()) if (durable) cursors.set(name, cursor.state)
      topics.set(topic.name, cursors)
    }
    return topics
  }

  // Time.

  after(millis: number, run: () => void): void {
    this.#timers.push({ at: this.now + millis, order: this.#timerOrder++, run })
    this.onWork()
  }

  /** When {@link advance} has something to do, milliseconds since the epoch. */
  get nextDue(): number | undefined {
    let due: number | undefined
    const consider = (at: number | undefined) => {
      if (at !== undefined && (due === undefined || at < due)) due = at
    }
    for (const { at } of this.#timers) consider(at)
    for (const topic of this.topics.values()) for (const { nextDue } of topic.subscriptions.values()) consider(nextDue)
    return due
  }

  advance(now: number): void {
    this.now = Math.max(this.now, now)
    const due = this.#timers.filter(({ at }) => at <= this.now).sort((a, b) => a.at - b.at || a.order - b.order)
    for (const timer of due) this.#timers.splice(this.#timers.indexOf(timer), 1)
    for (const { run } of due) run()
    for (const topic of this.topics.values()) {
      for (const subscription of topic.subscriptions.values()) {
        const at = subscription.nextDue
        if (at !== undefined && at <= this.now) subscription.dispatch(this.now)
      }
    }
  }
}
