import { Adapter, Batch, type Event, EventBus } from "@perigee/bus"
import { Effect, Layer } from "effect"

export interface Script {
  /** What happens before a batch is stored. Default: nothing. */
  onAppend?: (batch: Batch.Batch) => Effect.Effect<void, Adapter.AdapterError>
  onPoll?: () => Effect.Effect<void, Adapter.AdapterError>
  healthy?: boolean
}

/** A store in memory that fails when a test says so: for faults that a real disk does not produce on demand. */
export const scriptedStore = (
  script: Script = {},
  options: { readonly shards?: number; readonly retries?: number; readonly shutdownTimeout?: number } = {}
): Layer.Layer<EventBus | Adapter.Adapter> => {
  const shards = new Map<number, Array<Event.StoredEvent>>()
  const marks = new Map<string, Batch.ProducerMark>()
  const known = new Set<string>()
  const store = (batch: Batch.Batch): void => {
    const identity = Batch.dedupId(batch.nonce, batch.shard, batch.sequenceStart, 0)
    if (known.has(identity)) return
    known.add(identity)
    const events = shards.get(batch.shard) ?? []
    shards.set(batch.shard, events)
    Batch.forEach(batch, (payload, insertionTs, channel, index) => {
      events.push({
        id: String(events.length + 1),
        shard: batch.shard,
        raw: payload.slice(),
        insertionTs,
        dedupId: Batch.dedupId(batch.nonce, batch.shard, batch.sequenceStart, index),
        channel
      })
    })
    for (const mark of batch.marks) {
      const key = `${mark.producer}\0${mark.shards}\0${mark.shard}`
      if (mark.sequence > (marks.get(key)?.sequence ?? 0)) marks.set(key, mark)
    }
  }
  const adapter = Layer.succeed(
    Adapter.Adapter,
    Adapter.Adapter.of({
      name: "scripted",
      durability: "fsync",
      storeId: "scripted-store",
      lastInsertionTs: BigInt(0),
      append: (batch) =>
        Effect.andThen(Effect.suspend(() => script.onAppend?.(batch) ?? Effect.void), Effect.sync(() => store(batch))),
      flush: Effect.void,
      poll: (shard, after, limit) =>
        Effect.andThen(
          Effect.suspend(() => script.onPoll?.() ?? Effect.void),
          Effect.sync(() => {
            const events = shards.get(shard) ?? []
            const from = after === null ? 0 : Number(after)
            const page = events.slice(from, from + limit)
            return { events: page, nextId: page.at(-1)?.id ?? null, hasMore: from + page.length < events.length }
          })
        ),
      tails: Effect.sync(() => new Map([...shards].map(([shard, events]) => [shard, String(events.length)]))),
      saveMarks: () => Effect.void,
      producerMarks: (producer) => Effect.sync(() => [...marks.values()].filter((mark) => mark.producer === producer)),
      isHealthy: Effect.sync(() => script.healthy ?? true)
    })
  )
  return Layer.orDie(EventBus.layer({
    shards: options.shards ?? 2,
    atLeast: "fsync",
    retries: options.retries ?? 0,
    shutdownTimeout: options.shutdownTimeout ?? 5000
  })).pipe(Layer.provideMerge(adapter))
}
