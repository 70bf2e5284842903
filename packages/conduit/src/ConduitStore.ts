/**
 * Where a durable conduit keeps what must survive a restart of its process: keys, cursors, and the items that the peer has
 * not confirmed.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Serial from "./core/Serial.ts"

/**
 * Durable state could not be read or written.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreError extends Data.TaggedError("StoreError")<{
  readonly operation: "open" | "list" | "load" | "write" | "remove"
  readonly cause: unknown
}> {}

/**
 * One change of a conduit's state.
 *
 * - `Keys`: the keys that may resume the conduit, oldest first; an initiator has one. Secrets: protect the store.
 * - `Appended`: an item got this number.
 * - `Trimmed`: the peer has everything up to this number.
 * - `Delivered`: the consumer has everything up to this number.
 *
 * @category models
 * @since 0.1.0
 */
export type Change =
  | { readonly _tag: "Keys"; readonly keys: ReadonlyArray<Uint8Array> }
  | { readonly _tag: "Appended"; readonly seq: number; readonly item: Uint8Array }
  | { readonly _tag: "Trimmed"; readonly seq: number }
  | { readonly _tag: "Delivered"; readonly seq: number }

/**
 * What a store remembers of one conduit.
 *
 * @category models
 * @since 0.1.0
 */
export interface Remembered {
  readonly keys: ReadonlyArray<Uint8Array>
  readonly delivered: number | undefined
  /** Number that the next item gets. */
  readonly nextSeq: number
  /** Unconfirmed items, oldest first, with consecutive numbers up to `nextSeq`. */
  readonly items: ReadonlyArray<{ readonly seq: number; readonly item: Uint8Array }>
}

/**
 * The port. An implementation must make each `write` atomic and durable before it succeeds: what a conduit then says to
 * its peer cannot be taken back. Calls for one conduit never overlap.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConduitStore {
  readonly list: Effect.Effect<ReadonlyArray<string>, StoreError>
  readonly load: (id: string) => Effect.Effect<Remembered | undefined, StoreError>
  readonly write: (id: string, changes: ReadonlyArray<Change>) => Effect.Effect<void, StoreError>
  readonly remove: (id: string) => Effect.Effect<void, StoreError>
}

/**
 * Applies changes to what is remembered; stores that keep a log use it to read one.
 *
 * @since 0.1.0
 */
export const replay = (before: Remembered | undefined, changes: Iterable<Change>): Remembered => {
  let keys = before?.keys ?? []
  let delivered = before?.delivered
  let nextSeq = before?.nextSeq ?? 0
  const items = [...before?.items ?? []]
  let first = 0
  for (const change of changes) {
    switch (change._tag) {
      case "Keys":
        keys = change.keys
        break
      case "Appended":
        items.push({ seq: change.seq, item: change.item })
        nextSeq = Serial.next(change.seq)
        break
      case "Trimmed":
        while (first < items.length && Serial.atOrBefore(items[first]!.seq, change.seq)) first++
        // A log that was compacted may begin with where the numbers stand.
        if (first === items.length && Serial.after(Serial.next(change.seq), nextSeq)) nextSeq = Serial.next(change.seq)
        break
      case "Delivered":
        delivered = change.seq
        break
    }
  }
  return { keys, delivered, nextSeq, items: items.slice(first) }
}

/**
 * The changes that rebuild what is remembered, from nothing.
 *
 * @since 0.1.0
 */
export const snapshot = (remembered: Remembered): ReadonlyArray<Change> => {
  const { delivered, items, keys, nextSeq } = remembered
  const changes: Array<Change> = [{ _tag: "Keys", keys }]
  if (nextSeq !== 0) changes.push({ _tag: "Trimmed", seq: Serial.previous(items[0]?.seq ?? nextSeq) })
  for (const { item, seq } of items) changes.push({ _tag: "Appended", seq, item })
  if (delivered !== undefined) changes.push({ _tag: "Delivered", seq: delivered })
  return changes
}

/**
 * A store in memory: for tests, where it outlives a simulated process.
 *
 * @category constructors
 * @since 0.1.0
 */
export const memory = (): ConduitStore => {
  const all = new Map<string, Remembered>()
  return {
    list: Effect.sync(() => [...all.keys()]),
    load: (id) => Effect.sync(() => all.get(id)),
    write: (id, changes) => Effect.sync(() => void all.set(id, replay(all.get(id), changes))),
    remove: (id) => Effect.sync(() => void all.delete(id))
  }
}
