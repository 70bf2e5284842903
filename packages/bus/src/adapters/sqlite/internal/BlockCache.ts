/**
 * Blocks that readers are in the middle of, one a shard, up to a number of bytes; the longest unused goes first.
 */
import type { Block } from "../../../internal/StoredBlock.ts"

export class BlockCache {
  readonly #blocks = new Map<number, Block>()
  readonly #maxBytes: number
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** The shard's block, if it holds `position`. */
  get(shard: number, position: number): Block | undefined {
    const block = this.#blocks.get(shard)
    if (block === undefined || position < block.first || position > block.last) return undefined
    // A map keeps the order of insertion: the last is the most recently used.
    this.#blocks.delete(shard)
    this.#blocks.set(shard, block)
    return block
  }

  set(block: Block): void {
    this.delete(block.shard)
    this.#blocks.set(block.shard, block)
    this.#bytes += block.byteLength
    for (const shard of this.#blocks.keys()) {
      if (this.#bytes <= this.#maxBytes) return
      this.delete(shard)
    }
  }

  delete(shard: number): void {
    const block = this.#blocks.get(shard)
    if (block === undefined) return
    this.#blocks.delete(shard)
    this.#bytes -= block.byteLength
  }
}
