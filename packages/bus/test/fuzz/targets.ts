// What the fuzzer drives: every decoder of the bus that reads bytes from outside.
import type { Target } from "@perigee/sim/fuzz"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import { JsonLines, type LineBatch } from "../../src/core/JsonLines.ts"
import * as Cursor from "../../src/Cursor.ts"
import * as Filter from "../../src/Filter.ts"

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const lossy = new TextDecoder()
const bytes = (text: string) => new TextEncoder().encode(text)
const covers = (url: string) => url.includes("/bus/src/")

const must = (condition: boolean, what: string): void => {
  if (!condition) throw new Error(what)
}

/** What a cursor says after decoding, it says again after another round. */
const cursorRound = (text: string): void => {
  const decoded = Cursor.decode(text)
  if (Result.isFailure(decoded)) return
  const encoded = Cursor.encode(decoded.success)
  must(Result.isSuccess(encoded), "a decoded cursor cannot be encoded")
  const again = Cursor.decode(Result.getOrThrow(encoded))
  must(Result.isSuccess(again) && Cursor.equals(again.success, decoded.success), "a cursor changes in a round trip")
}

const cursors = [
  Cursor.empty,
  Cursor.set(Cursor.set(Cursor.make(), 0, "12"), 65_534, "1695-3"),
  Cursor.set(Cursor.make({ store: "s" }), 1, "opaque")
].map((cursor) => Result.getOrThrow(Cursor.encode(cursor)))

export const cursorText: Target = {
  name: "cursor text",
  covers,
  seeds: cursors.map(bytes),
  run: (input) => cursorRound(lossy.decode(input))
}

export const cursorJson: Target = {
  name: "cursor json",
  covers,
  seeds: cursors.map((text) => Result.getOrThrow(Base64.decode(text))),
  dictionary: ["\"", "{", "}", ":", ",", "null", "\"v\"", "\"store\"", "\"positions\"", "0", "65535", "\\u0000"],
  run: (input) => cursorRound(Base64.encode(input))
}

/** A filter without "and" and "or" of one: the text of such a one is that of its only member. */
const plain = (filter: Filter.Filter): Filter.Filter => {
  switch (filter._tag) {
    case "And":
    case "Or": {
      const filters = filter.filters.map(plain)
      return filters.length === 1 ? filters[0]! : { _tag: filter._tag, filters }
    }
    case "Not":
      return { _tag: "Not", filter: plain(filter.filter) }
    default:
      return filter
  }
}

const filterRound = (decoded: Result.Result<Filter.Filter, Filter.FilterError>): void => {
  if (Result.isFailure(decoded)) return
  const filter = decoded.success
  Filter.matches(filter, { a: { b: [1, "x", null] }, time: 4 })
  must(
    Filter.compile(filter)({ a: 1 }) === Filter.matches(filter, { a: 1 }),
    "a compiled filter answers otherwise than an interpreted one"
  )
  const json = Filter.fromJson(Filter.toJson(filter))
  must(Result.isSuccess(json) && Filter.equals(json.success, filter), "a filter changes through its JSON")
  const text = Filter.fromText(Filter.toText(filter))
  must(Result.isSuccess(text) && Filter.equals(plain(text.success), plain(filter)), "a filter changes through its text")
}

const filters = [
  Filter.eq("a.b", 1),
  Filter.and(Filter.gt("mag", 4.5), Filter.not(Filter.exists("place"))),
  Filter.or(Filter.oneOf("type", ["x", null, true]), Filter.lte("n", -1e-7))
]

export const filterText: Target = {
  name: "filter text",
  covers,
  seeds: [
    ...filters.map((filter) => bytes(Filter.toText(filter))),
    bytes("mag >= 4 and (type = \"quake\" or not exists(x))")
  ],
  dictionary: [
    " and ",
    " or ",
    "not ",
    "exists(",
    "in (",
    "(",
    ")",
    "=",
    "!=",
    "<=",
    ">=",
    "<",
    ">",
    "\"",
    ".",
    "null",
    "true",
    "1e9",
    "-0"
  ],
  run: (input) => filterRound(Filter.fromText(lossy.decode(input)))
}

export const filterJson: Target = {
  name: "filter json",
  covers,
  seeds: filters.map((filter) => bytes(JSON.stringify(Filter.toJson(filter)))),
  dictionary: [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "1e400",
    "-0",
    "\"path\"",
    "\"value\"",
    "\"__proto__\"",
    "\\ud800"
  ],
  run: (input) => filterRound(Filter.fromJsonString(lossy.decode(input)))
}

const linesOf = (batch: LineBatch): Array<string> =>
  Array.from(
    { length: batch.count },
    (_, i) => lossy.decode(batch.bytes.subarray(batch.starts[i]!, batch.ends[i]!))
  )

/** Kept lines and refused ones of a stream that arrives in pieces of the given size. */
const decodeIn = (
  input: Uint8Array,
  piece: number
): { readonly kept: Array<string>; readonly refused: Array<string> } => {
  const decoder = new JsonLines({ maxLineBytes: 64, maxDepth: 8 })
  const kept: Array<string> = []
  const refused: Array<string> = []
  const take = (batch: LineBatch) => {
    kept.push(...linesOf(batch))
    for (const { line, offset, reason } of batch.rejected) refused.push(`${line}:${reason}:${offset}`)
  }
  for (let at = 0; at < input.length; at += piece) take(decoder.push(input.subarray(at, at + piece)))
  take(decoder.end())
  return { kept, refused }
}

const isJson = (line: Uint8Array): boolean => {
  try {
    JSON.parse(utf8.decode(line))
    return true
  } catch {
    return false
  }
}

const depthOf = (line: string): number => {
  let depth = 0
  let deepest = 0
  let inText = false
  for (let i = 0; i < line.length; i++) {
    const char = line[i]
    if (inText) {
      if (char === "\\") i++
      else if (char === "\"") inText = false
    } else if (char === "\"") inText = true
    else if (char === "[" || char === "{") deepest = Math.max(deepest, ++depth)
    else if (char === "]" || char === "}") depth--
  }
  return deepest
}

/** NDJSON: any split gives the same lines, and a line is kept exactly when Node's own parser takes it. */
export const ndjson: Target = {
  name: "ndjson",
  covers,
  maxBytes: 512,
  seeds: [
    "{\"a\":1}\n[1,2.5e-3,null]\r\n\"\\u00e9\\\\\"\ntrue",
    "\n\n{}\n",
    "{\"a\":{\"b\":[[[]]]}}",
    "\"ü€𝄞\"\n-0\n0.1"
  ].map(bytes),
  dictionary: [
    "\n",
    "\r\n",
    "{\"a\":",
    "[",
    "]",
    "}",
    "\"",
    "\\u",
    "\\ud834\\udd1e",
    "1e5",
    "-",
    "true",
    "false",
    "null",
    "\u00e9"
  ],
  run: (input) => {
    const whole = decodeIn(input, Math.max(1, input.length))
    for (const piece of [1, 3, 17]) {
      const split = decodeIn(input, piece)
      must(JSON.stringify(split) === JSON.stringify(whole), `pieces of ${piece} bytes give other lines`)
    }
    const expected: Array<string> = []
    for (let from = 0; from < input.length;) {
      const end = input.indexOf(10, from)
      const to = end === -1 ? input.length : end
      const line = input.subarray(from, to > from && input[to - 1] === 13 ? to - 1 : to)
      const text = lossy.decode(line)
      if (line.length <= 64 && isJson(line) && depthOf(text) <= 8) expected.push(text)
      from = to + 1
    }
    must(
      JSON.stringify(whole.kept.map((line) => line.trim())) === JSON.stringify(expected.map((line) => line.trim())),
      "other lines are kept than Node's parser takes"
    )
  }
}
