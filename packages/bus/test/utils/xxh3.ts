// XXH3-64 with seed 0, written from the specification with BigInt and no thought for speed, to compare against.

const secret = Uint8Array.from(
  ("b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e" +
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d" +
    "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc" +
    "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e").match(/../g)!,
  (hex) => Number.parseInt(hex, 16)
)

const mask = 0xffffffffffffffffn
const [p32x1, p32x2, p32x3] = [0x9e3779b1n, 0x85ebca77n, 0xc2b2ae3dn]
const [p1, p2, p3, p4, p5] = [
  0x9e3779b185ebca87n,
  0xc2b2ae3d27d4eb4fn,
  0x165667b19e3779f9n,
  0x85ebca77c2b2ae63n,
  0x27d4eb2f165667c5n
]
const read = (bytes: Uint8Array, at: number, size: number): bigint => {
  let value = 0n
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i]!)
  return value
}
const u64 = (n: bigint) => n & mask
const rotl = (n: bigint, by: bigint) => u64(n << by) | (n >> (64n - by))
const swap = (n: bigint) =>
  read(Uint8Array.from({ length: 8 }, (_, i) => Number((n >> BigInt(8 * (7 - i))) & 0xffn)), 0, 8)
const fold = (a: bigint, b: bigint) => u64(a * b) ^ ((a * b) >> 64n)
const finish = (n: bigint) => {
  const h = u64((n ^ (n >> 37n)) * 0x165667919e3779f9n)
  return h ^ (h >> 32n)
}
const finish64 = (n: bigint) => {
  let h = u64((n ^ (n >> 33n)) * p2)
  h = u64((h ^ (h >> 29n)) * p3)
  return h ^ (h >> 32n)
}
const s64 = (at: number) => read(secret, at, 8)
const mix = (bytes: Uint8Array, at: number, s: number) =>
  fold(read(bytes, at, 8) ^ s64(s), read(bytes, at + 8, 8) ^ s64(s + 8))

export const slowHash = (bytes: Uint8Array): bigint => {
  const n = bytes.length
  const length = BigInt(n)
  if (n === 0) return finish64(s64(56) ^ s64(64))
  if (n <= 3) {
    const combined = (BigInt(bytes[0]!) << 16n) | (BigInt(bytes[n >> 1]!) << 24n) | BigInt(bytes[n - 1]!) |
      (length << 8n)
    return finish64(combined ^ read(secret, 0, 4) ^ read(secret, 4, 4))
  }
  if (n <= 8) {
    let h = ((read(bytes, 0, 4) << 32n) + read(bytes, n - 4, 4)) ^ s64(8) ^ s64(16)
    h = u64((h ^ rotl(h, 49n) ^ rotl(h, 24n)) * 0x9fb21c651e98df25n)
    h = u64((h ^ ((h >> 35n) + length)) * 0x9fb21c651e98df25n)
    return h ^ (h >> 28n)
  }
  if (n <= 16) {
    const low = read(bytes, 0, 8) ^ s64(24) ^ s64(32)
    const high = read(bytes, n - 8, 8) ^ s64(40) ^ s64(48)
    return finish(u64(length + swap(low) + high + fold(low, high)))
  }
  let acc = u64(length * p1)
  if (n <= 128) {
    for (let i = (n - 1) >> 5; i >= 0; i--) {
      acc = u64(acc + mix(bytes, 16 * i, 32 * i) + mix(bytes, n - 16 * (i + 1), 32 * i + 16))
    }
    return finish(acc)
  }
  if (n <= 240) {
    for (let i = 0; i < n >> 4; i++) {
      if (i === 8) acc = finish(acc)
      acc = u64(acc + mix(bytes, 16 * i, i < 8 ? 16 * i : 16 * (i - 8) + 3))
    }
    return finish(u64((n >> 4 === 8 ? finish(acc) : acc) + mix(bytes, n - 16, 136 - 17)))
  }
  const lanes = [p32x3, p1, p2, p3, p4, p32x2, p5, p32x1]
  const stripe = (at: number, s: number) => {
    for (let i = 0; i < 8; i++) {
      const data = read(bytes, at + 8 * i, 8)
      const keyed = data ^ s64(s + 8 * i)
      lanes[i ^ 1] = u64(lanes[i ^ 1]! + data)
      lanes[i] = u64(lanes[i]! + (keyed & 0xffffffffn) * (keyed >> 32n))
    }
  }
  const full = Math.floor((n - 1) / 64)
  for (let i = 0; i < full; i++) {
    stripe(64 * i, 8 * (i % 16))
    if (i % 16 === 15) {
      for (let j = 0; j < 8; j++) lanes[j] = u64((lanes[j]! ^ (lanes[j]! >> 47n) ^ s64(128 + 8 * j)) * p32x1)
    }
  }
  stripe(n - 64, 192 - 64 - 7)
  for (let i = 0; i < 4; i++) acc += fold(lanes[2 * i]! ^ s64(11 + 16 * i), lanes[2 * i + 1]! ^ s64(19 + 16 * i))
  return finish(u64(acc))
}
