import type { Prng } from "./prng.ts"

const texts = [
  "",
  "a",
  "\"",
  "\\",
  "\u0000\u001f",
  "é",
  "日本語",
  "😀",
  "\ud800",
  "a long text that fills more than one block of sixteen bytes"
]

const anyString = (random: Prng): string => {
  let out = ""
  for (let i = random.int(0, 4); i > 0; i--) out += random.pick(texts)
  return JSON.stringify(out)
}

const anyNumber = (random: Prng): string =>
  random.pick(["0", "-0", "1", "-17", "3.25", "1e9", "1E-9", "-0.5e+10", "123456789012345678901234567890"])

const anySpace = (random: Prng): string => random.chance(0.8) ? "" : random.pick([" ", "\t", "\r", " \t "])

/** A random JSON text, without a newline. */
export const anyJson = (random: Prng, depth = 4): string => {
  const space = anySpace(random)
  const members = () => Array.from({ length: random.int(0, 4) })
  switch (depth === 0 ? random.int(0, 3) : random.int(0, 6)) {
    case 0:
      return space + anyString(random) + space
    case 1:
      return space + anyNumber(random) + space
    case 2:
      return space + random.pick(["true", "false", "null"]) + space
    case 3:
      return `${space}[${members().map(() => anyJson(random, depth - 1)).join(",")}${anySpace(random)}]`
    default:
      return `${space}{${
        members().map(() => `${anySpace(random)}${anyString(random)}${anySpace(random)}:${anyJson(random, depth - 1)}`)
          .join(",")
      }}${space}`
  }
}

const bytesOfInterest = [
  0x00,
  0x0b,
  0x1f,
  0x20,
  0x22,
  0x2c,
  0x2d,
  0x2e,
  0x30,
  0x39,
  0x3a,
  0x5b,
  0x5c,
  0x5d,
  0x65,
  0x75,
  0x7b,
  0x7d,
  0x7f,
  0x80,
  0xbf,
  0xc0,
  0xc2,
  0xe0,
  0xed,
  0xf0,
  0xf4,
  0xf5,
  0xff
]

/** Changes, inserts, removes or swaps a few bytes. Never adds a newline. */
export const mutate = (random: Prng, bytes: Uint8Array): Uint8Array => {
  const out = [...bytes]
  for (let i = random.int(1, 4); i > 0; i--) {
    const at = random.int(0, out.length + 1)
    const byte = random.pick(bytesOfInterest)
    const kind = random.int(0, 4)
    if (kind === 0) out.splice(at, 0, byte)
    else if (kind === 1) out.splice(at, 1)
    else if (kind === 2) out.splice(at, 1, byte)
    else out.splice(random.int(0, out.length + 1), 0, ...out.slice(at, at + 3))
  }
  return Uint8Array.from(out.filter((byte) => byte !== 10))
}
