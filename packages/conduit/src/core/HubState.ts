import type { ClientHello } from "./Hello.ts"
import { KeyRing } from "./KeyRing.ts"
import * as ResumeKey from "./ResumeKey.ts"

/**
 * How long and how much a hub keeps for conduits whose link is gone.
 *
 * @since 0.1.0
 */
export interface Retention {
  /** Milliseconds that a detached conduit is kept. */
  readonly timeMillis: number
  /** Most conduits, attached or not. */
  readonly conduits: number
  /** Most detached conduits; the longest detached goes first. */
  readonly detached: number
  /** Most bytes that detached conduits may hold together; the longest detached goes first. */
  readonly bytes: number
}

/**
 * What a hub does with a ClientHello.
 *
 * @since 0.1.0
 */
export type Route<Id> =
  | { readonly _tag: "Create" }
  | { readonly _tag: "Attach"; readonly id: Id }
  | { readonly _tag: "Reject"; readonly why: "unknown-key" | "nonsense" | "full" }

interface Entry {
  readonly ring: KeyRing
  detachedAt: number | undefined
  bytes: number
}

/** Compared against when no candidate exists, so that a miss costs what a hit costs. */
const nobody = new Uint8Array(16)

/**
 * Which conduits exist, which keys resume them, and which must go: an acceptor's hub without its links and its clock.
 *
 * @since 0.1.0
 */
export class HubState<Id> {
  private readonly entries = new Map<Id, Entry>()
  private readonly bySelector = new Map<number, Array<{ readonly key: Uint8Array; readonly id: Id }>>()
  /** Detached conduits in the order they lost their link. */
  private readonly detachedOrder = new Map<Id, Entry>()
  private detachedBytes = 0
  private readonly retention: Retention
  private readonly keysPerConduit: number

  constructor(retention: Retention, keysPerConduit = 8) {
    this.retention = retention
    this.keysPerConduit = keysPerConduit
  }

  /** Conduits known. */
  get size(): number {
    return this.entries.size
  }

  /** Conduits without a link. */
  get detached(): number {
    return this.detachedOrder.size
  }

  /** Bytes that detached conduits hold. */
  get bytes(): number {
    return this.detachedBytes
  }

  /** Decides where a hello belongs; changes nothing but the keys that a valid presentation retires. */
  route(hello: ClientHello): Route<Id> {
    if (hello.key === undefined) {
      if (hello.lastReceived !== undefined) return { _tag: "Reject", why: "nonsense" }
      return this.entries.size >= this.retention.conduits && this.detachedOrder.size === 0
        ? { _tag: "Reject", why: "full" }
        : { _tag: "Create" }
    }
    let found: Id | undefined
    let hit = false
    for (const candidate of this.bySelector.get(ResumeKey.selector(hello.key)) ?? []) {
      if (ResumeKey.equals(candidate.key, hello.key)) {
        found = candidate.id
        hit = true
      }
    }
    if (!hit) {
      ResumeKey.equals(nobody, hello.key)
      return { _tag: "Reject", why: "unknown-key" }
    }
    this.prove(found as Id, hello.key)
    return { _tag: "Attach", id: found as Id }
  }

  /** Registers a conduit; the caller issues its first key next. */
  add(id: Id, keys: ReadonlyArray<Uint8Array> = []): void {
    this.entries.set(id, { ring: new KeyRing(this.keysPerConduit, keys), detachedAt: undefined, bytes: 0 })
    for (const key of keys) this.index(key, id)
  }

  /** Adds a fresh key to a conduit. */
  issue(id: Id, key: Uint8Array): void {
    const dropped = this.entries.get(id)?.ring.issue(key)
    this.index(key, id)
    if (dropped !== undefined) this.unindex(dropped)
  }

  /** Notes that the initiator holds a key, which retires every older one. */
  prove(id: Id, key: Uint8Array): void {
    for (const retired of this.entries.get(id)?.ring.prove(key) ?? []) this.unindex(retired)
  }

  /** The keys that are valid for a conduit, oldest first. */
  keys(id: Id): ReadonlyArray<Uint8Array> {
    return this.entries.get(id)?.ring.valid ?? []
  }

  /** Notes that a conduit has a link. */
  attached(id: Id): void {
    const entry = this.entries.get(id)
    if (entry === undefined || entry.detachedAt === undefined) return
    entry.detachedAt = undefined
    this.detachedOrder.delete(id)
    this.detachedBytes -= entry.bytes
  }

  /** Notes that a conduit lost its link while holding this many bytes; returns the conduits that must now go. */
  lost(id: Id, now: number, bytes: number): ReadonlyArray<Id> {
    const entry = this.entries.get(id)
    if (entry === undefined) return []
    this.attached(id)
    entry.detachedAt = now
    entry.bytes = bytes
    this.detachedOrder.set(id, entry)
    this.detachedBytes += bytes
    return this.evict(now)
  }

  /** Corrects what a detached conduit holds; returns the conduits that must now go. */
  grew(id: Id, now: number, bytes: number): ReadonlyArray<Id> {
    const entry = this.entries.get(id)
    if (entry === undefined || entry.detachedAt === undefined) return []
    this.detachedBytes += bytes - entry.bytes
    entry.bytes = bytes
    return this.evict(now)
  }

  /** Forgets a conduit and all its keys. */
  remove(id: Id): void {
    const entry = this.entries.get(id)
    if (entry === undefined) return
    this.attached(id)
    for (const key of entry.ring.valid) this.unindex(key)
    this.entries.delete(id)
  }

  /** The conduits that are over a limit now, longest detached first; the caller ends and removes them. */
  evict(now: number): ReadonlyArray<Id> {
    const gone: Array<Id> = []
    let count = this.detachedOrder.size
    let all = this.entries.size
    let bytes = this.detachedBytes
    for (const [id, entry] of this.detachedOrder) {
      const over = now - entry.detachedAt! >= this.retention.timeMillis || count > this.retention.detached ||
        all > this.retention.conduits || bytes > this.retention.bytes
      if (!over) break
      gone.push(id)
      count--
      all--
      bytes -= entry.bytes
    }
    return gone
  }

  /** The longest detached conduit that may go to make room for a new one. */
  get longestDetached(): Id | undefined {
    return this.entries.size < this.retention.conduits ? undefined : this.detachedOrder.keys().next().value
  }

  /** When the next detached conduit expires, or `undefined`. */
  get nextExpiry(): number | undefined {
    const first = this.detachedOrder.values().next().value
    return first === undefined ? undefined : first.detachedAt! + this.retention.timeMillis
  }

  private index(key: Uint8Array, id: Id): void {
    const selector = ResumeKey.selector(key)
    const bucket = this.bySelector.get(selector)
    if (bucket === undefined) this.bySelector.set(selector, [{ key, id }])
    else bucket.push({ key, id })
  }

  private unindex(key: Uint8Array): void {
    const selector = ResumeKey.selector(key)
    const left = (this.bySelector.get(selector) ?? []).filter((entry) => !ResumeKey.equals(entry.key, key))
    if (left.length === 0) this.bySelector.delete(selector)
    else this.bySelector.set(selector, left)
  }
}
