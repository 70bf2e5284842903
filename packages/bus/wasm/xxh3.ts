// XXH3-64, seed 0, default secret, as specified in
// https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md. AssemblyScript: this file is compiled to WebAssembly.
/* oxlint-disable no-loss-of-precision -- these literals are u64 */

const P32_1: u64 = 0x9e3779b1
const P32_2: u64 = 0x85ebca77
const P32_3: u64 = 0xc2b2ae3d
const P64_1: u64 = 0x9e3779b185ebca87
const P64_2: u64 = 0xc2b2ae3d27d4eb4f
const P64_3: u64 = 0x165667b19e3779f9
const P64_4: u64 = 0x85ebca77c2b2ae63
const P64_5: u64 = 0x27d4eb2f165667c5

const SECRET_BYTES: i32 = 192
const STRIPE: i32 = 64
const BLOCK: i32 = 1024

// dprint-ignore
const secret = memory.data<u8>([
  0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
  0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
  0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
  0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
  0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
  0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
  0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
  0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
  0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
  0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
  0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
  0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e
])

/** Both halves of the 128-bit product, folded by exclusive or. */
// @ts-ignore: decorator

function mulFold(a: u64, b: u64): u64 {
  const al = a & 0xffffffff
  const ah = a >> 32
  const bl = b & 0xffffffff
  const bh = b >> 32
  const ll = al * bl
  const hl = ah * bl
  const lh = al * bh
  const cross = (ll >> 32) + (hl & 0xffffffff) + lh
  const high = ah * bh + (hl >> 32) + (cross >> 32)
  return high ^ ((cross << 32) | (ll & 0xffffffff))
}

// @ts-ignore: decorator

function avalanche(h: u64): u64 {
  h ^= h >> 37
  h *= 0x165667919e3779f9
  return h ^ (h >> 32)
}

// @ts-ignore: decorator

function avalancheXxh64(h: u64): u64 {
  h ^= h >> 33
  h *= P64_2
  h ^= h >> 29
  h *= P64_3
  return h ^ (h >> 32)
}

// @ts-ignore: decorator

function mix16(p: usize, s: usize): u64 {
  return mulFold(load<u64>(p) ^ load<u64>(s), load<u64>(p, 8) ^ load<u64>(s, 8))
}

function upTo16(p: usize, length: i32): u64 {
  if (length > 8) {
    const low = load<u64>(p) ^ load<u64>(secret, 24) ^ load<u64>(secret, 32)
    const high = load<u64>(p + length - 8) ^ load<u64>(secret, 40) ^ load<u64>(secret, 48)
    return avalanche(u64(length) + bswap<u64>(low) + high + mulFold(low, high))
  }
  if (length >= 4) {
    let h = (u64(load<u32>(p)) << 32) + u64(load<u32>(p + length - 4))
    h ^= load<u64>(secret, 8) ^ load<u64>(secret, 16)
    h ^= rotl<u64>(h, 49) ^ rotl<u64>(h, 24)
    h *= 0x9fb21c651e98df25
    h ^= (h >> 35) + u64(length)
    h *= 0x9fb21c651e98df25
    return h ^ (h >> 28)
  }
  if (length > 0) {
    const combined = (u32(load<u8>(p)) << 16) | (u32(load<u8>(p + (length >> 1))) << 24) |
      u32(load<u8>(p + length - 1)) | (u32(length) << 8)
    return avalancheXxh64(u64(combined) ^ u64(load<u32>(secret) ^ load<u32>(secret, 4)))
  }
  return avalancheXxh64(load<u64>(secret, 56) ^ load<u64>(secret, 64))
}

function upTo128(p: usize, length: i32): u64 {
  let acc = u64(length) * P64_1
  const tail = p + length
  if (length > 32) {
    if (length > 64) {
      if (length > 96) acc += mix16(p + 48, secret + 96) + mix16(tail - 64, secret + 112)
      acc += mix16(p + 32, secret + 64) + mix16(tail - 48, secret + 80)
    }
    acc += mix16(p + 16, secret + 32) + mix16(tail - 32, secret + 48)
  }
  return avalanche(acc + mix16(p, secret) + mix16(tail - 16, secret + 16))
}

function upTo240(p: usize, length: i32): u64 {
  let acc = u64(length) * P64_1
  const rounds = length >> 4
  for (let i = 0; i < 8; i++) acc += mix16(p + (i << 4), secret + (i << 4))
  acc = avalanche(acc)
  for (let i = 8; i < rounds; i++) acc += mix16(p + (i << 4), secret + ((i - 8) << 4) + 3)
  return avalanche(acc + mix16(p + length - 16, secret + 119))
}

let acc0: v128 = i64x2.splat(0)
let acc1: v128 = i64x2.splat(0)
let acc2: v128 = i64x2.splat(0)
let acc3: v128 = i64x2.splat(0)

/** Two lanes of one stripe: multiply the halves of data ^ secret, add the data of the neighbouring lane. */
// @ts-ignore: decorator

function accumulate(acc: v128, p: usize, s: usize): v128 {
  const data = v128.load(p)
  const keyed = v128.xor(data, v128.load(s))
  const low = i8x16.shuffle(keyed, keyed, 0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11)
  const high = i8x16.shuffle(keyed, keyed, 4, 5, 6, 7, 12, 13, 14, 15, 4, 5, 6, 7, 12, 13, 14, 15)
  const swapped = i8x16.shuffle(data, data, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
  return i64x2.add(acc, i64x2.add(swapped, i64x2.extmul_low_i32x4_u(low, high)))
}

// @ts-ignore: decorator

function scramble(acc: v128, s: usize): v128 {
  const mixed = v128.xor(v128.xor(acc, i64x2.shr_u(acc, 47)), v128.load(s))
  return i64x2.mul(mixed, i64x2.splat(P32_1))
}

function stripes(p: usize, s: usize, count: i32): void {
  let a = acc0
  let b = acc1
  let c = acc2
  let d = acc3
  for (let i = 0; i < count; i++) {
    a = accumulate(a, p, s)
    b = accumulate(b, p + 16, s + 16)
    c = accumulate(c, p + 32, s + 32)
    d = accumulate(d, p + 48, s + 48)
    p += STRIPE
    s += 8
  }
  acc0 = a
  acc1 = b
  acc2 = c
  acc3 = d
}

// @ts-ignore: decorator

function merge(acc: v128, s: usize): u64 {
  return mulFold(i64x2.extract_lane(acc, 0) ^ load<u64>(s), i64x2.extract_lane(acc, 1) ^ load<u64>(s, 8))
}

function long(p: usize, length: i32): u64 {
  acc0 = i64x2.replace_lane(i64x2.splat(P32_3), 1, P64_1)
  acc1 = i64x2.replace_lane(i64x2.splat(P64_2), 1, P64_3)
  acc2 = i64x2.replace_lane(i64x2.splat(P64_4), 1, P32_2)
  acc3 = i64x2.replace_lane(i64x2.splat(P64_5), 1, P32_1)
  const blocks = (length - 1) / BLOCK
  const last = secret + SECRET_BYTES - STRIPE
  let q = p
  for (let i = 0; i < blocks; i++) {
    stripes(q, secret, BLOCK / STRIPE)
    acc0 = scramble(acc0, last)
    acc1 = scramble(acc1, last + 16)
    acc2 = scramble(acc2, last + 32)
    acc3 = scramble(acc3, last + 48)
    q += BLOCK
  }
  stripes(q, secret, (length - 1 - blocks * BLOCK) / STRIPE)
  stripes(p + length - STRIPE, last - 7, 1)
  const s = secret + 11
  return avalanche(
    u64(length) * P64_1 + merge(acc0, s) + merge(acc1, s + 16) + merge(acc2, s + 32) + merge(acc3, s + 48)
  )
}

/** XXH3-64 of `length` bytes at `p`. */
export function hash(p: usize, length: i32): u64 {
  if (length <= 16) return upTo16(p, length)
  if (length <= 128) return upTo128(p, length)
  if (length <= 240) return upTo240(p, length)
  return long(p, length)
}

/** floor(hash × shards / 2^64), for at most 2^16 shards. */
export function route(p: usize, length: i32, shards: u32): u32 {
  const h = hash(p, length)
  const n = u64(shards)
  return u32(((h >> 32) * n + (((h & 0xffffffff) * n) >> 32)) >> 32)
}
