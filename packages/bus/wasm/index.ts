// The module's entry: what `src/core/internal/Wasm.ts` sees. AssemblyScript: compiled to WebAssembly.
import { fault, TOO_LONG, validate } from "./json"
import { route } from "./xxh3"

export { hash, route } from "./xxh3"
export { fault, validate } from "./json"

/** First address that callers may use. They keep at least 32 bytes free after what they pass. */
export const base: usize = (__heap_base + 63) & ~63

/** Of the last call of `lines`: refused lines, lines seen, address after the last newline. */
export let rejected: i32 = 0
export let seen: i32 = 0
export let rest: usize = 0

/** The first newline at or after `p`, or an address at or after `to`. */
function newline(p: usize, to: usize): usize {
  while (p < to) {
    const hits = i8x16.bitmask(i8x16.eq(v128.load(p), i8x16.splat(0x0a)))
    if (hits != 0) return p + ctz(hits)
    p += 16
  }
  return p
}

/** Number of newlines in [p, to). */
export function newlines(p: usize, to: usize): i32 {
  let count: i32 = 0
  while (p + 16 <= to) {
    count += popcnt(i8x16.bitmask(i8x16.eq(v128.load(p), i8x16.splat(0x0a))))
    p += 16
  }
  while (p < to) count += i32(load<u8>(p++) == 0x0a)
  return count
}

function isBlank(p: usize, end: usize): bool {
  while (p < end) {
    const c = load<u8>(p)
    if (c != 0x20 && c != 0x09 && c != 0x0d) return false
    p++
  }
  return true
}

/** Whether a byte order mark starts at `p`. */
function isMark(p: usize, end: usize): bool {
  return end - p >= 3 && load<u16>(p) == 0xbbef && load<u8>(p, 2) == 0xbf
}

/**
 * Cuts [from, to) into lines, of which none ends before `scan`, and validates each. Offsets relative to `from`'s origin `origin` go to
 * `starts` and `ends` (u32), shards to `routes` (u16, when `shards` > 0), refusals (line, reason, offset; at most `room`) to `refusals`.
 * The first line of a stream may begin with a byte order mark, which is skipped. Returns the number of accepted lines.
 */
export function lines(
  origin: usize,
  from: usize,
  scan: usize,
  to: usize,
  isFirst: bool,
  maxLine: i32,
  maxDepth: i32,
  shards: u32,
  starts: usize,
  ends: usize,
  routes: usize,
  refusals: usize,
  room: i32
): i32 {
  let count: i32 = 0
  let line: i32 = 0
  let refused: i32 = 0
  let start = from
  while (true) {
    const cut = newline(scan, to)
    if (cut >= to) break
    const end = cut > start && load<u8>(cut - 1) == 0x0d ? cut - 1 : cut
    if (isFirst && line == 0 && isMark(start, end)) start += 3
    const length = i32(end - start)
    let reason: i32 = 0
    let offset: i32 = 0
    if (length > maxLine) {
      reason = TOO_LONG
      offset = maxLine
    } else if (!isBlank(start, end)) {
      offset = validate(start, length, maxDepth)
      if (offset >= 0) {
        reason = fault
      } else {
        store<u32>(starts + (count << 2), u32(start - origin))
        store<u32>(ends + (count << 2), u32(end - origin))
        if (shards > 0) store<u16>(routes + (count << 1), u16(route(start, length, shards)))
        count++
      }
    }
    if (reason != 0) {
      if (refused < room) {
        const record = refusals + refused * 12
        store<i32>(record, line)
        store<i32>(record, reason, 4)
        store<i32>(record, offset, 8)
      }
      refused++
    }
    line++
    start = cut + 1
    scan = start
  }
  rejected = refused
  seen = line
  rest = start
  return count
}
