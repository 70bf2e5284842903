/**
 * Small changes to byte strings, as fuzzers make them.
 */
import type { Rng } from "../internal/Rng.ts"

const interesting8 = [
  0,
  1,
  7,
  8,
  9,
  10,
  13,
  32,
  34,
  44,
  45,
  46,
  48,
  57,
  58,
  63,
  64,
  91,
  92,
  93,
  123,
  125,
  127,
  128,
  255
]
const interesting32 = [
  0,
  1,
  0x7f,
  0x80,
  0xff,
  0x100,
  0x7fff,
  0x8000,
  0xffff,
  0x10000,
  0x7fffffff,
  0x80000000,
  0xffffffff
]

type Mutation = (bytes: Uint8Array, rng: Rng, others: ReadonlyArray<Uint8Array>) => Uint8Array

const splice = (bytes: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array => {
  const out = new Uint8Array(bytes.length - remove + insert.length)
  out.set(bytes.subarray(0, at))
  out.set(insert, at)
  out.set(bytes.subarray(at + remove), at + insert.length)
  return out
}

const slice = (bytes: Uint8Array, rng: Rng): readonly [from: number, to: number] => {
  const from = rng.int(bytes.length + 1)
  // Short pieces more often than long ones.
  const longest = bytes.length - from
  return [from, from + Math.min(longest, rng.int(1 + rng.int(longest + 1)))]
}

const edit = (change: (bytes: Uint8Array, at: number, rng: Rng) => void): Mutation => (bytes, rng) => {
  if (bytes.length === 0) return rng.bytes(1 + rng.int(4))
  const out = bytes.slice()
  change(out, rng.int(out.length), rng)
  return out
}

const word = (write: (view: DataView, at: number, value: number, little: boolean) => void, size: number): Mutation =>
  edit((bytes, at, rng) => {
    if (bytes.length < size) return
    const place = Math.min(at, bytes.length - size)
    write(
      new DataView(bytes.buffer),
      place,
      rng.chance(0.3) ? bytes.length - place : rng.pick(interesting32),
      rng.chance(0.5)
    )
  })

const mutations: ReadonlyArray<Mutation> = [
  edit((bytes, at, rng) => {
    bytes[at] = bytes[at]! ^ (1 << rng.int(8))
  }),
  edit((bytes, at, rng) => {
    bytes[at] = rng.int(256)
  }),
  edit((bytes, at, rng) => {
    bytes[at] = rng.pick(interesting8)
  }),
  edit((bytes, at, rng) => {
    bytes[at] = bytes[at]! + rng.between(-16, 16)
  }),
  word((view, at, value, little) => view.setUint16(at, value, little), 2),
  word((view, at, value, little) => view.setUint32(at, value, little), 4),
  (bytes, rng) => splice(bytes, rng.int(bytes.length + 1), 0, rng.bytes(1 + rng.int(8))),
  (bytes, rng) => {
    const [from, to] = slice(bytes, rng)
    return splice(bytes, from, to - from, new Uint8Array(0))
  },
  (bytes, rng) => {
    const [from, to] = slice(bytes, rng)
    return splice(bytes, rng.int(bytes.length + 1), 0, bytes.slice(from, to))
  },
  (bytes, rng) => bytes.slice(0, rng.int(bytes.length + 1)),
  (bytes, rng) => {
    const [from, to] = slice(bytes, rng)
    const piece = bytes.slice(from, to)
    let out = bytes
    for (let i = rng.int(8); i > 0 && out.length < 65_536; i--) out = splice(out, to, 0, piece)
    return out
  },
  (bytes, rng, others) => {
    if (others.length === 0) return bytes
    const other = rng.pick(others)
    const [from, to] = slice(other, rng)
    const [start, end] = slice(bytes, rng)
    return splice(bytes, start, end - start, other.slice(from, to))
  }
]

/** One to eight changes, with the words of the dictionary among them, cut to `maxBytes`. */
export const mutate = (
  bytes: Uint8Array,
  rng: Rng,
  options: {
    readonly others: ReadonlyArray<Uint8Array>
    readonly dictionary: ReadonlyArray<Uint8Array>
    readonly maxBytes: number
  }
): Uint8Array => {
  let out = bytes
  // Mostly one change: what brought an input this far must survive.
  for (let i = rng.chance(0.6) ? 1 : 1 << rng.int(4); i > 0; i--) {
    if (options.dictionary.length > 0 && rng.chance(0.15)) {
      const token = rng.pick(options.dictionary)
      const at = rng.int(out.length + 1)
      out = splice(out, at, rng.chance(0.5) ? Math.min(token.length, out.length - at) : 0, token)
    } else out = rng.pick(mutations)(out, rng, options.others)
  }
  return out.length > options.maxBytes ? out.slice(0, options.maxBytes) : out
}
