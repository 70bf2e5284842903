/** Why a body of type `application/json` is not taken. */
export type JsonBodyFailure =
  | { readonly _tag: "Utf8" }
  | { readonly _tag: "Json"; readonly message: string }
  | { readonly _tag: "Depth"; readonly offset: number }
  | { readonly _tag: "Size"; readonly index: number; readonly bytes: number }

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const quote = 0x22
const backslash = 0x5c
const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09

/**
 * The events of a JSON body as they are spelled in it: the elements of an array, or the one value that it is otherwise. Nothing is parsed and
 * written again, so numbers keep all their digits.
 */
export const jsonSpans = (
  body: Uint8Array,
  limits: { readonly maxDepth: number; readonly maxEventBytes: number }
): ReadonlyArray<Uint8Array> | JsonBodyFailure => {
  const deep = tooDeep(body, limits.maxDepth + 1)
  if (deep !== -1) return { _tag: "Depth", offset: deep }
  let text
  try {
    text = utf8.decode(body)
  } catch {
    return { _tag: "Utf8" }
  }
  try {
    JSON.parse(text)
  } catch (cause) {
    // The engine's message quotes the body, which may be long or private.
    const position = /position (\d+)/.exec(String(cause))?.[1]
    return { _tag: "Json", message: position === undefined ? "it ends too early" : `at character ${position}` }
  }
  let from = 0
  while (isSpace(body[from]!)) from++
  const spans = body[from] === 0x5b ? elements(body, from + 1) : [body.subarray(from, trimEnd(body, from, body.length))]
  const large = spans.findIndex((span) => span.length > limits.maxEventBytes)
  if (large !== -1) return { _tag: "Size", index: large, bytes: spans[large]!.length }
  // An array may nest one deeper than an event, because it is not one.
  if (body[from] !== 0x5b) {
    const event = tooDeep(body, limits.maxDepth)
    if (event !== -1) return { _tag: "Depth", offset: event }
  }
  return spans
}

const trimEnd = (body: Uint8Array, from: number, to: number): number => {
  while (to > from && isSpace(body[to - 1]!)) to--
  return to
}

/** Offset of the first byte nested deeper than `limit`, or -1. Needs no valid JSON: it runs before the parser. */
const tooDeep = (body: Uint8Array, limit: number): number => {
  let depth = 0
  let inString = false
  for (let i = 0; i < body.length; i++) {
    const byte = body[i]!
    if (inString) {
      if (byte === backslash) i++
      else if (byte === quote) inString = false
    } else if (byte === quote) inString = true
    else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > limit) return i
    } else if (byte === 0x5d || byte === 0x7d) depth--
  }
  return -1
}

/** The elements of an array known to be valid JSON, from just behind its bracket. */
const elements = (body: Uint8Array, from: number): Array<Uint8Array> => {
  const spans: Array<Uint8Array> = []
  let depth = 0
  let start = from
  let inString = false
  for (let i = from; i < body.length; i++) {
    const byte = body[i]!
    if (inString) {
      if (byte === backslash) i++
      else if (byte === quote) inString = false
      continue
    }
    if (byte === quote) inString = true
    else if (byte === 0x5b || byte === 0x7b) depth++
    else if (depth > 0 && (byte === 0x5d || byte === 0x7d)) depth--
    else if (depth === 0 && (byte === 0x2c || byte === 0x5d)) {
      while (start < i && isSpace(body[start]!)) start++
      const end = trimEnd(body, start, i)
      if (end > start) spans.push(body.subarray(start, end))
      start = i + 1
      if (byte === 0x5d) break
    }
  }
  return spans
}
