// The grammar of RFC 8259 over strict UTF-8, in one pass and without recursion. AssemblyScript: compiled to WebAssembly.

export const NOT_JSON: i32 = 1
export const INVALID_UTF8: i32 = 2
export const TOO_LONG: i32 = 3
export const TOO_DEEP: i32 = 4

/** Deepest nesting that the stack has room for. */
const DEEPEST: i32 = 4096

/** One byte a level: the bracket that closes it. */
const stack = memory.data(DEEPEST)

/** Why the last call of `validate` refused. */
export let fault: i32 = 0
/** Address of the refused byte. */
let at: usize = 0

// Character codes.
const QUOTE: u32 = 0x22
const BACKSLASH: u32 = 0x5c
const COMMA: u32 = 0x2c
const COLON: u32 = 0x3a
const OPEN_OBJECT: u32 = 0x7b
const CLOSE_OBJECT: u32 = 0x7d
const OPEN_ARRAY: u32 = 0x5b

// @ts-ignore: decorator

function refuse(p: usize, why: i32): usize {
  at = p
  fault = why
  return 0
}

// @ts-ignore: decorator

function isDigit(c: u32): bool {
  return c - 0x30 < 10
}

// @ts-ignore: decorator

function isSpace(c: u32): bool {
  return c == 0x20 || c == 0x0a || c == 0x0d || c == 0x09
}

// @ts-ignore: decorator

function isHex(c: u32): bool {
  return isDigit(c) || (c | 0x20) - 0x61 < 6
}

// @ts-ignore: decorator

function isContinuation(c: u32): bool {
  return (c & 0xc0) == 0x80
}

// @ts-ignore: decorator

function skipSpace(p: usize): usize {
  while (isSpace(load<u8>(p))) p++
  return p
}

/** The address after one multi-byte character, or 0: table 3-7 of the Unicode standard. */
function character(p: usize): usize {
  const c: u32 = load<u8>(p)
  const d: u32 = load<u8>(p, 1)
  if (c < 0xe0) return c >= 0xc2 && isContinuation(d) ? p + 2 : refuse(p, INVALID_UTF8)
  if (c < 0xf0) {
    const from: u32 = c == 0xe0 ? 0xa0 : 0x80
    const to: u32 = c == 0xed ? 0x9f : 0xbf
    return d >= from && d <= to && isContinuation(load<u8>(p, 2)) ? p + 3 : refuse(p, INVALID_UTF8)
  }
  const from: u32 = c == 0xf0 ? 0x90 : 0x80
  const to: u32 = c == 0xf4 ? 0x8f : 0xbf
  return c <= 0xf4 && d >= from && d <= to && isContinuation(load<u8>(p, 2)) && isContinuation(load<u8>(p, 3))
    ? p + 4
    : refuse(p, INVALID_UTF8)
}

/** The address after the escape sequence at `p`, or 0. */
function escape(p: usize): usize {
  const c: u32 = load<u8>(p, 1)
  if (c == 0x75) {
    for (let i: usize = 2; i < 6; i++) if (!isHex(load<u8>(p + i))) return refuse(p + i, NOT_JSON)
    return p + 6
  }
  return c == QUOTE || c == BACKSLASH || c == 0x2f || c == 0x62 || c == 0x66 || c == 0x6e || c == 0x72 || c == 0x74
    ? p + 2
    : refuse(p + 1, NOT_JSON)
}

/** The address after the string whose content starts at `p`, or 0. */
function string(p: usize): usize {
  while (true) {
    const block = v128.load(p)
    // Signed: below 0x20 are the control characters and every byte of a multi-byte character.
    const stops = i8x16.bitmask(v128.or(
      v128.or(i8x16.eq(block, i8x16.splat(0x22)), i8x16.eq(block, i8x16.splat(0x5c))),
      i8x16.lt_s(block, i8x16.splat(0x20))
    ))
    if (stops == 0) {
      p += 16
      continue
    }
    p += ctz(stops)
    const c: u32 = load<u8>(p)
    if (c == QUOTE) return p + 1
    if (c == BACKSLASH) {
      p = escape(p)
      if (p == 0) return 0
    } else if (c < 0x20) {
      return refuse(p, NOT_JSON)
    } else {
      do {
        p = character(p)
        if (p == 0) return 0
      } while (load<u8>(p) >= 0x80)
    }
  }
}

/** The address after an object's key and colon, or 0. */
// @ts-ignore: decorator

function key(p: usize): usize {
  p = skipSpace(p)
  if (load<u8>(p) != QUOTE) return refuse(p, NOT_JSON)
  p = string(p + 1)
  if (p == 0) return 0
  p = skipSpace(p)
  return load<u8>(p) == COLON ? p + 1 : refuse(p, NOT_JSON)
}

function number(p: usize): usize {
  let c: u32 = load<u8>(p)
  if (c == 0x2d) c = load<u8>(++p)
  if (c == 0x30) c = load<u8>(++p)
  else if (isDigit(c)) {
    do {
      c = load<u8>(++p)
    } while (isDigit(c))
  } else return refuse(p, NOT_JSON)
  if (c == 0x2e) {
    c = load<u8>(++p)
    if (!isDigit(c)) return refuse(p, NOT_JSON)
    do {
      c = load<u8>(++p)
    } while (isDigit(c))
  }
  if ((c | 0x20) == 0x65) {
    c = load<u8>(++p)
    if (c == 0x2b || c == 0x2d) c = load<u8>(++p)
    if (!isDigit(c)) return refuse(p, NOT_JSON)
    do {
      c = load<u8>(++p)
    } while (isDigit(c))
  }
  return p
}

/** `true`, `false` or `null`: the spelling's bytes from the second on, in the order of memory. */
function literal(p: usize, spelling: u32, length: i32): usize {
  p++
  for (let i = 1; i < length; i++) {
    if (load<u8>(p) != u8(spelling)) return refuse(p, NOT_JSON)
    spelling >>= 8
    p++
  }
  return p
}

/** A string, a number or a literal. */
// @ts-ignore: decorator

function scalar(p: usize, c: u32): usize {
  if (c == QUOTE) return string(p + 1)
  if (c == 0x74) return literal(p, 0x657572, 4)
  if (c == 0x66) return literal(p, 0x65736c61, 5)
  if (c == 0x6e) return literal(p, 0x6c6c75, 4)
  return number(p)
}

/** Walks one document that is followed by a byte 0, which no token goes past; the address of its end, or 0. */
function document(p: usize, maxDepth: i32): usize {
  let depth: i32 = 0
  let closing: u32 = 0
  while (true) {
    // A value is expected.
    p = skipSpace(p)
    const c: u32 = load<u8>(p)
    if (c == OPEN_OBJECT || c == OPEN_ARRAY) {
      if (depth == maxDepth) return refuse(p, TOO_DEEP)
      store<u8>(stack + depth, closing)
      depth++
      // The closing bracket is two after the opening one, for both.
      closing = c + 2
      p = skipSpace(p + 1)
      if (load<u8>(p) != closing) {
        if (c == OPEN_OBJECT) {
          p = key(p)
          if (p == 0) return 0
        }
        continue
      }
      p++
      depth--
      closing = load<u8>(stack + depth)
    } else {
      p = scalar(p, c)
      if (p == 0) return 0
    }
    // A value has ended.
    while (true) {
      p = skipSpace(p)
      if (depth == 0) return p
      const c: u32 = load<u8>(p)
      if (c == COMMA) {
        p++
        if (closing == CLOSE_OBJECT) {
          p = key(p)
          if (p == 0) return 0
        }
        break
      }
      if (c != closing) return refuse(p, NOT_JSON)
      p++
      depth--
      closing = load<u8>(stack + depth)
    }
  }
}

/** -1 when the `length` bytes at `p` are one JSON document; else the offset of the first byte that does not fit, and `fault`. */
export function validate(p: usize, length: i32, maxDepth: i32): i32 {
  const end = p + length
  const kept = load<u8>(end)
  store<u8>(end, 0)
  let stopped = document(p, min(maxDepth, DEEPEST))
  store<u8>(end, kept)
  if (stopped == end) return -1
  if (stopped == 0) {
    stopped = at
  } else {
    fault = NOT_JSON
  }
  return i32(stopped - p)
}
