/**
 * The WebAssembly module behind hashing and validation: compiled on first use, one instance (and memory) for each owner.
 */
import { base64 } from "../gen/wasm.ts"

interface Memory {
  readonly buffer: ArrayBuffer
  readonly grow: (pages: number) => number
}

interface Global {
  readonly value: number
}

/** What `wasm/index.ts` exports. Addresses are offsets in `memory`. */
export interface Exports {
  readonly memory: Memory
  /** First address that is free to use. */
  readonly base: Global
  readonly hash: (address: number, length: number) => bigint
  readonly route: (address: number, length: number, shards: number) => number
  readonly validate: (address: number, length: number, maxDepth: number) => number
  /** Why `validate` refused: an index into {@link reasons}. */
  readonly fault: Global
  readonly newlines: (from: number, to: number) => number
  readonly lines: (
    origin: number,
    from: number,
    scan: number,
    to: number,
    isFirst: boolean,
    maxLine: number,
    maxDepth: number,
    shards: number,
    starts: number,
    ends: number,
    routes: number,
    refusals: number,
    room: number
  ) => number
  /** Of the last `lines`: refused lines, lines seen, address after the last newline. */
  readonly rejected: Global
  readonly seen: Global
  readonly rest: Global
}

// The types of Node declare no WebAssembly, and those of the DOM would let browser globals into every source.
declare const WebAssembly: {
  readonly Module: new(bytes: Uint8Array) => object
  readonly Instance: new(module: object, imports: object) => { readonly exports: unknown }
}

export const reasons = ["", "notJson", "invalidUtf8", "tooLong", "tooDeep"] as const

/** Bytes that the module may read, but not use, after what it was given. */
export const slack = 32

/** Deepest nesting that `validate` can be asked to allow. */
export const deepest = 4096

let compiled: object | undefined

export const instantiate = (): Exports => {
  compiled ??= new WebAssembly.Module(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)))
  return new WebAssembly.Instance(compiled, {}).exports as Exports
}

/** Grows the memory until addresses below `end` exist; true when that made earlier views useless. */
export const reserve = (memory: Memory, end: number): boolean => {
  const missing = end - memory.buffer.byteLength
  if (missing <= 0) return false
  // At least half as much again, so that a slowly growing need copies little.
  memory.grow(Math.ceil(Math.max(missing, memory.buffer.byteLength / 2) / 65_536))
  return true
}
