/** The events of a publish call in the forms that callers have them in. */
import type { LineBatch } from "../core/JsonLines.ts"
import type { Staging } from "../core/Staging.ts"

/** The events of a call, loaded one at a time. */
export interface Source {
  readonly count: number
  /** Makes event `index` current; its length in bytes. */
  readonly load: (index: number) => number
  /** The current event is `bytes[from, to)`. */
  readonly bytes: Uint8Array
  readonly from: number
  readonly to: number
  /** Shard of the current event by its content. May be asked only after `load`, before anything else is staged. */
  readonly route: (index: number, shards: number) => number
}

/** Texts and byte arrays; nothing larger than the staging area is loaded, only measured. */
export class PayloadSource implements Source {
  readonly count: number
  bytes: Uint8Array
  readonly from = 0
  to = 0
  readonly #payloads: ReadonlyArray<Uint8Array | string>
  readonly #staging: Staging

  constructor(payloads: ReadonlyArray<Uint8Array | string>, staging: Staging) {
    this.count = payloads.length
    this.#payloads = payloads
    this.#staging = staging
    this.bytes = staging.staging
  }

  load(index: number): number {
    const payload = this.#payloads[index]!
    const length = typeof payload === "string" ? this.#staging.stageString(payload) : this.#staging.stageBytes(payload)
    this.bytes = typeof payload === "string" ? this.#staging.staged(length) : payload
    this.to = length
    return length
  }

  route(_index: number, shards: number): number {
    return shards === 1 ? 0 : this.#staging.route(this.to, shards)
  }
}

/** The lines of an NDJSON chunk, with the shards that the decoder has computed where it has. */
export class LineSource implements Source {
  readonly count: number
  readonly bytes: Uint8Array
  from = 0
  to = 0
  readonly #lines: LineBatch
  readonly #staging: Staging

  constructor(lines: LineBatch, staging: Staging) {
    this.count = lines.count
    this.bytes = lines.bytes
    this.#lines = lines
    this.#staging = staging
  }

  load(index: number): number {
    this.from = this.#lines.starts[index]!
    this.to = this.#lines.ends[index]!
    return this.to - this.from
  }

  route(index: number, shards: number): number {
    if (shards === 1) return 0
    if (shards === this.#lines.shards) return this.#lines.routes![index]!
    return this.#staging.route(this.#staging.stageBytes(this.bytes.subarray(this.from, this.to)), shards)
  }
}

/** Events that go where a key of their own says, whatever their content. */
export class KeyedSource implements Source {
  readonly count: number
  readonly #source: Source
  readonly #hashes: BigUint64Array
  readonly #shardOf: (hash: bigint, shards: number) => number

  constructor(source: Source, hashes: BigUint64Array, shardOf: (hash: bigint, shards: number) => number) {
    this.count = source.count
    this.#source = source
    this.#hashes = hashes
    this.#shardOf = shardOf
  }

  get bytes(): Uint8Array {
    return this.#source.bytes
  }

  get from(): number {
    return this.#source.from
  }

  get to(): number {
    return this.#source.to
  }

  load(index: number): number {
    return this.#source.load(index)
  }

  route(index: number, shards: number): number {
    return this.#shardOf(this.#hashes[index]!, shards)
  }
}
