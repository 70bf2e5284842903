/**
 * Memory that connections read into, and read into again when nothing of what was in it is needed any more.
 *
 * Pieces are counted by those who need them: the transport that reads into one, each chunk on its way to a connection, the connection with a frame that
 * is not complete, each entry that is to be taken or was handed out. Whoever is not sure, or does not know of this, just does not give up its share: then
 * the collector decides, as with any memory. Memory that is no piece is nobody's business here.
 *
 * @since 0.1.0
 */

import { MemoryPool, Shared } from "./internal/MemoryPool.ts"

/** Length of a piece that is kept for later. Smaller ones are what connections begin with. @category constants @since 0.1.0 */
export const PIECE = 1024 * 1024

/** Keeps 16 MiB. */
const pool = new MemoryPool(PIECE, 16)
const pieces = new WeakMap<ArrayBufferLike, Shared>()

// Chunks and entries come in runs from the same piece.
let lastBuffer: ArrayBufferLike | undefined
let lastPiece: Shared | undefined

const pieceOf = (view: Uint8Array): Shared | undefined => {
  const { buffer } = view
  if (buffer !== lastBuffer) {
    lastBuffer = buffer
    lastPiece = pieces.get(buffer)
  }
  return lastPiece
}

/** A piece of `size` bytes, with one share, its content undefined. @category constructors @since 0.1.0 */
export const acquire = (size: number): Uint8Array<ArrayBuffer> => {
  const piece = size === PIECE ? pool.acquire() : new Shared(size)
  pieces.set(piece.memory.buffer, piece)
  return piece.memory
}

/** One share more in the piece that `view` lies in. @category combinators @since 0.1.0 */
export const retain = (view: Uint8Array): void => {
  const piece = pieceOf(view)
  if (piece !== undefined) piece.shares++
}

/** One share less; after the last, the memory is written again. @category combinators @since 0.1.0 */
export const release = (view: Uint8Array): void => {
  const piece = pieceOf(view)
  if (piece !== undefined) pool.release(piece)
}

/** On a chunk that has a share of its own. A set of such chunks, weak or not, would cost more than reading them. */
const SHARE: unique symbol = Symbol("share")

interface Chunk extends Uint8Array {
  [SHARE]?: boolean
}

/** Gives a chunk that was read a share of its own, which goes with it to whoever reads it. @category combinators @since 0.1.0 */
export const send = (chunk: Chunk): void => {
  chunk[SHARE] = true
  retain(chunk)
}

/**
 * The chunk was read: its share is given up, once. One that was cut up or copied on its way has none to give up, and the piece it was sent with stays.
 *
 * @category combinators
 * @since 0.1.0
 */
export const received = (chunk: Chunk): void => {
  if (chunk[SHARE] !== true) return
  chunk[SHARE] = false
  release(chunk)
}

/** A share that several messages of one entry have together. @category models @since 0.1.0 */
export class Lease {
  readonly #view: Uint8Array
  #holders = 1

  /** With one holder. */
  constructor(view: Uint8Array) {
    this.#view = view
    retain(view)
  }

  join(): void {
    this.#holders++
  }

  leave(): void {
    this.#holders--
    if (this.#holders === 0) release(this.#view)
  }
}
