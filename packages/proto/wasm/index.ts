// Shortens what a CRC32C is to be computed of, in WebAssembly: what `src/internal/CrcFold.ts` sees. AssemblyScript: compiled to WebAssembly.
//
// The polynomial 0x1EDC6F41 divides y^290 + y^136 + y^113 + y^107 + y^32 + 1 with y = x^8 (found by search: x^k mod P for all k, sums of three against
// sums of three). So a byte may be moved 154, 177, 183, 258 and 290 bytes towards the end, all five times, without a change of the remainder: whole
// vectors at a time, without tables, until some 300 bytes are left. That is several times as fast as tables, which need a look-up a byte.
// The idea of sparse multiples: K. Russell, "Chorba: A novel CRC32 implementation", 2024.

/** Bytes left at least. */
const REACH: usize = 290

/** Where the input has to be put, behind room for zeros: what precedes it is looked at. */
export const input: usize = (__heap_base + 304 + 63) & ~63

/** Most bytes of an input. */
export const limit: usize = 64 * 1024

/** What is left of the input. */
export const rest: usize = (input + limit + 16 + 63) & ~63

/** Behind what is left. */
export const end: usize = rest + 320

/** What is moved to the vector at `p`. */
function moved(p: usize): v128 {
  return v128.xor(
    v128.xor(v128.load(p - 154), v128.load(p - 177)),
    v128.xor(v128.xor(v128.load(p - 183), v128.load(p - 258)), v128.load(p - 290))
  )
}

/** Shortens `length` bytes, from 306 to `limit`; gives the number of those at `rest` that have the same remainder. */
export function fold(length: usize): usize {
  const zero = i8x16.splat(0)
  for (let p: usize = input - 304; p < input; p += 16) v128.store(p, zero)
  const stop = input + ((length - REACH) & ~15)
  for (let p = input; p < stop; p += 16) v128.store(p, v128.xor(v128.load(p), moved(p)))
  const left = input + length - stop
  for (let at: usize = 0; at < left; at += 16) {
    v128.store(rest + at, v128.load(stop + at))
    // What was not moved moves nothing.
    v128.store(stop + at, zero)
  }
  for (let at: usize = 0; at < left; at += 16) v128.store(rest + at, v128.xor(v128.load(rest + at), moved(stop + at)))
  return left
}
