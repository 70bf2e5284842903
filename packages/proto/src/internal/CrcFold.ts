/**
 * Shortens what a CRC32C is to be computed of: some three hundred bytes stand for up to 64 KiB, with the same remainder.
 */
import { base64 } from "./gen/wasm.ts"

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer; readonly grow: (pages: number) => number }
  readonly input: { readonly value: number }
  readonly limit: { readonly value: number }
  readonly rest: { readonly value: number }
  readonly end: { readonly value: number }
  readonly fold: (length: number) => number
}

// The types of Node declare no WebAssembly, and those of the DOM would let browser globals into every source.
declare const WebAssembly: {
  readonly Module: new(bytes: Uint8Array) => object
  readonly Instance: new(module: object) => { readonly exports: unknown }
}

/** Fewer bytes than this are not worth the way into the module's memory; it takes 306 at least. */
export const WORTHWHILE = 768

class CrcFold {
  /** Most bytes at a time. */
  readonly limit: number
  /** The module's memory. */
  readonly memory: Uint8Array
  /** Where what is left begins. */
  readonly rest: number
  readonly #input: number
  readonly #fold: (length: number) => number

  constructor() {
    const module = new WebAssembly.Module(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)))
    const { end, fold, input, limit, memory, rest } = new WebAssembly.Instance(module).exports as Exports
    memory.grow(Math.ceil((end.value - memory.buffer.byteLength) / 65_536))
    this.memory = new Uint8Array(memory.buffer)
    this.limit = limit.value
    this.rest = rest.value
    this.#input = input.value
    this.#fold = fold
  }

  /** Takes {@link WORTHWHILE} to `limit` bytes, the checksum register before them in the first four; gives how many are left at `rest`. */
  shorten(register: number, bytes: Uint8Array): number {
    const { memory } = this
    const at = this.#input
    memory.set(bytes, at)
    memory[at]! ^= register
    memory[at + 1]! ^= register >>> 8
    memory[at + 2]! ^= register >>> 16
    memory[at + 3]! ^= register >>> 24
    return this.#fold(bytes.length)
  }
}

let shared: CrcFold | undefined

/** The module of this thread, compiled when it is first needed. */
export const crcFold = (): CrcFold => shared ??= new CrcFold()
