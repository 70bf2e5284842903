import { Effect, Layer } from "effect"
import { Adapter, type AdapterError, adapterError, type AdapterErrorReason } from "../../src/Adapter.ts"
import { type Batch, dedupId, forEach, type ProducerMark } from "../../src/Batch.ts"
import type { Durability } from "../../src/Durability.ts"

const decoder = new TextDecoder()

export interface Delivered {
  readonly shard: number
  readonly id: string
  readonly text: string
  readonly insertionTs: bigint
  readonly channel: string | null
}

export interface Script {
  readonly durability?: Durability
  readonly lastInsertionTs?: bigint
  /** What happens before call number `call` (from 1) is stored. Default: nothing. */
  readonly onAppend?: (batch: Batch, call: number) => Effect.Effect<void, AdapterError>
  readonly onFlush?: Effect.Effect<void, AdapterError>
  readonly marks?: ReadonlyArray<ProducerMark>
  /** What happens before the marks of a producer are told. */
  readonly onProducerMarks?: (producer: string) => Effect.Effect<void, AdapterError>
  readonly onSaveMarks?: Effect.Effect<void, AdapterError>
}

/** Keeps what it is given, in order, and does what a test tells it to do first. */
export class ScriptedAdapter {
  readonly batches: Array<Batch> = []
  readonly starts: Array<
    { readonly shard: number; readonly start: number; readonly count: number; readonly nonce: bigint }
  > = []
  readonly events: Array<Delivered> = []
  readonly marks = new Map<string, ProducerMark>()
  calls = 0
  flushes = 0
  closes = 0
  readonly #stored = new Set<string>()
  readonly #script: Script

  constructor(script: Script = {}) {
    this.#script = script
    for (const mark of script.marks ?? []) this.#mark(mark)
  }

  #mark(mark: ProducerMark): void {
    const key = `${mark.producer} ${mark.shards} ${mark.shard}`
    if (mark.sequence > (this.marks.get(key)?.sequence ?? 0)) this.marks.set(key, mark)
  }

  store(batch: Batch): void {
    const identity = dedupId(batch.nonce, batch.shard, batch.sequenceStart, 0)
    if (this.#stored.has(identity)) return
    this.#stored.add(identity)
    this.starts.push({ shard: batch.shard, start: batch.sequenceStart, count: batch.count, nonce: batch.nonce })
    for (const mark of batch.marks) this.#mark(mark)
    forEach(batch, (payload, insertionTs, channel, index) => {
      const id = dedupId(batch.nonce, batch.shard, batch.sequenceStart, index)
      this.events.push({ shard: batch.shard, id, text: decoder.decode(payload), insertionTs, channel })
    })
  }

  get texts(): ReadonlyArray<string> {
    return this.events.map((event) => event.text)
  }

  readonly layer: Layer.Layer<Adapter> = Layer.effect(
    Adapter,
    Effect.acquireRelease(
      Effect.sync(() =>
        Adapter.of({
          name: "scripted",
          durability: this.#script.durability ?? "memory",
          storeId: null,
          lastInsertionTs: this.#script.lastInsertionTs ?? BigInt(0),
          append: (batch) =>
            Effect.suspend(() => {
              this.calls++
              this.batches.push(batch)
              return Effect.andThen(
                this.#script.onAppend?.(batch, this.calls) ?? Effect.void,
                Effect.sync(() => this.store(batch))
              )
            }),
          flush: Effect.suspend(() => {
            this.flushes++
            return this.#script.onFlush ?? Effect.void
          }),
          poll: () => Effect.succeed({ events: [], nextId: null, hasMore: false }),
          tails: Effect.succeed(new Map<number, string>()),
          producerMarks: (producer) =>
            Effect.andThen(
              this.#script.onProducerMarks?.(producer) ?? Effect.void,
              Effect.sync(() => [...this.marks.values()].filter((mark) => mark.producer === producer))
            ),
          saveMarks: (marks) =>
            Effect.andThen(
              this.#script.onSaveMarks ?? Effect.void,
              Effect.sync(() => marks.forEach((mark) => this.#mark(mark)))
            ),
          isHealthy: Effect.succeed(true)
        })
      ),
      () => Effect.sync(() => void this.closes++)
    )
  )
}

export const refuse = (tag: AdapterErrorReason["_tag"]): Effect.Effect<never, AdapterError> =>
  Effect.fail(adapterError("scripted", tag, "scripted"))
