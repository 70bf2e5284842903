import { Effect, Layer } from "effect"
import { Adapter, type AdapterError, adapterError, type AdapterErrorReason, type ShardPage } from "../../src/Adapter.ts"
import { type Batch, dedupId, forEach } from "../../src/Batch.ts"
import type { StoredEvent } from "../../src/Event.ts"

export interface Entry {
  readonly id: string
  readonly ts: bigint
  readonly raw: string
  readonly channel?: string | null
  readonly dedupId?: string
  /** The store holds something here that it cannot turn into an event. */
  readonly lost?: boolean
}

const utf8 = new TextEncoder()
const decoder = new TextDecoder()

const eventOf = (shard: number, entry: Entry): StoredEvent => ({
  id: entry.id,
  shard,
  raw: utf8.encode(entry.raw),
  insertionTs: entry.ts,
  dedupId: entry.dedupId ?? null,
  channel: entry.channel ?? null
})

/** A store that a test fills and breaks by hand; it obeys the laws of reading until it is told not to. */
export class ReadableStore {
  readonly shards = new Map<number, Array<Entry>>()
  /** Shards whose polls fail. */
  readonly failing = new Map<number, AdapterErrorReason["_tag"]>()
  /** Shards that claim more and deliver nothing. */
  readonly stalling = new Set<number>()
  tailsFailing: AdapterErrorReason["_tag"] | undefined
  storeId: string | null = null
  polls: Array<{ readonly shard: number; readonly after: string | null; readonly limit: number }> = []
  /** Runs after the tails were taken and before they are given out. */
  afterTails: () => void = () => {}
  /** Runs before every poll of a shard. */
  onPoll: (shard: number) => Effect.Effect<void, AdapterError> = () => Effect.void

  /** Appends entries with positions 1, 2, 3 … and the times given, or the position when there are none. */
  add(shard: number, raws: ReadonlyArray<string | Partial<Entry>>): this {
    const entries = this.shards.get(shard) ?? []
    for (const raw of raws) {
      const given = typeof raw === "string" ? { raw } : raw
      const number = entries.length + 1
      entries.push({ id: `${number}`, ts: BigInt(number), raw: `{"n":${number}}`, ...given })
    }
    this.shards.set(shard, entries)
    return this
  }

  #store(batch: Batch): void {
    const identity = dedupId(batch.nonce, batch.shard, batch.sequenceStart, 0)
    if (this.shards.get(batch.shard)?.some((entry) => entry.dedupId === identity) === true) return
    const entries: Array<Partial<Entry>> = []
    forEach(batch, (payload, ts, channel, index) => {
      entries.push({
        ts,
        channel,
        raw: decoder.decode(payload),
        dedupId: dedupId(batch.nonce, batch.shard, batch.sequenceStart, index)
      })
    })
    this.add(batch.shard, entries)
  }

  page(shard: number, after: string | null, limit: number): ShardPage {
    const entries = this.shards.get(shard) ?? []
    // Positions of a shard are unique; their order is that of storage.
    const from = after === null ? 0 : entries.findIndex((entry) => entry.id === after) + 1
    const taken = entries.slice(from, from + limit)
    return {
      events: taken.filter((entry) => entry.lost !== true).map((entry) => eventOf(shard, entry)),
      nextId: taken.at(-1)?.id ?? null,
      hasMore: from + limit < entries.length
    }
  }

  readonly service: Adapter["Service"] = Adapter.of({
    name: "readable",
    durability: "memory",
    storeId: null,
    lastInsertionTs: BigInt(0),
    append: (batch) => Effect.sync(() => this.#store(batch)),
    flush: Effect.void,
    poll: (shard, after, limit) =>
      Effect.suspend(() => {
        this.polls.push({ shard, after, limit })
        const failing = this.failing.get(shard)
        if (failing !== undefined) return Effect.fail(adapterError("readable", failing, `shard ${shard} is broken`))
        if (this.stalling.has(shard)) return Effect.succeed({ events: [], nextId: null, hasMore: true })
        return Effect.map(this.onPoll(shard), () => this.page(shard, after, limit))
      }),
    tails: Effect.suspend(() => {
      if (this.tailsFailing !== undefined) {
        return Effect.fail(adapterError("readable", this.tailsFailing, "the tails are broken"))
      }
      const tails = new Map<number, string>()
      for (const [shard, entries] of this.shards) if (entries.length > 0) tails.set(shard, entries.at(-1)!.id)
      for (const shard of this.stalling) tails.set(shard, "999999")
      this.afterTails()
      return Effect.succeed(tails)
    }),
    saveMarks: () => Effect.void,
    producerMarks: () => Effect.succeed([]),
    isHealthy: Effect.succeed(true)
  })

  /** The service with the store's identity of the moment. */
  get adapter(): Adapter["Service"] {
    return { ...this.service, storeId: this.storeId }
  }

  readonly layer: Layer.Layer<Adapter> = Layer.sync(Adapter, () => this.adapter)
}
