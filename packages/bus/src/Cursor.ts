/**
 * Where a reader stands in every shard, as a value and as text.
 *
 * The text is standard base64 of a JSON object from shard number to position, `{"0":"1700-3","1":"1699-0"}`; `e30=` is the beginning of
 * everything. Beside the shards it may say whose positions these are (`store`), which shard is next to be served (`turn`), and which events
 * beyond a shard's position were returned already (`ahead`, used by reading in timestamp order).
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import * as CursorJson from "./internal/CursorJson.ts"

/**
 * Everything up to and including a shard's position was returned or passed over; a shard without one starts at its oldest event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Cursor {
  readonly positions: ReadonlyMap<number, string>
  /** Positions beyond a shard's own that were returned already. At most {@link maxAhead} over all shards. */
  readonly ahead: ReadonlyMap<number, ReadonlySet<string>>
  /** Identity of the store that the positions belong to, or null when it has none. */
  readonly store: string | null
  /** The shard that the next page begins with, or null for the lowest. */
  readonly turn: number | null
}

/**
 * Why a cursor was refused.
 *
 * - `TooLong`: more than {@link maxLength} characters.
 * - `NotBase64`, `NotJson`: not the text form; also what is damaged or not canonical.
 * - `InvalidShard`: a key that is not a shard number in its canonical form.
 * - `Duplicate`: a key twice.
 * - `InvalidPosition`: an empty or oversized position, or too many of them.
 * - `OtherStore`: the positions belong to another store.
 * - `ClassChange`: a shard's position changed its kind, as after a move to another store.
 *
 * @category errors
 * @since 0.1.0
 */
export type CursorErrorReason = {
  readonly _tag:
    | "TooLong"
    | "NotBase64"
    | "NotJson"
    | "InvalidShard"
    | "Duplicate"
    | "InvalidPosition"
    | "OtherStore"
    | "ClassChange"
  readonly message: string
}

/**
 * Failure to read or write a cursor, with its tagged `reason`.
 *
 * @category errors
 * @since 0.1.0
 */
export class CursorError extends Data.TaggedError("CursorError")<{ readonly reason: CursorErrorReason }> {
  override get message(): string {
    return `invalid cursor: ${this.reason.message}`
  }
}

const fail = (_tag: CursorErrorReason["_tag"], message: string): Result.Result<never, CursorError> =>
  Result.fail(new CursorError({ reason: { _tag, message } }))

/**
 * Characters that a cursor's text may have: checked before it is decoded, and when it is written.
 *
 * @category limits
 * @since 0.1.0
 */
export const maxLength = 4_194_304

/**
 * Positions ahead of their shard's own that a cursor may carry.
 *
 * @category limits
 * @since 0.1.0
 */
export const maxAhead: number = CursorJson.maxAhead

/**
 * Builds a cursor; what is left out is empty.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (fields?: {
  readonly positions?: ReadonlyMap<number, string> | undefined
  readonly ahead?: ReadonlyMap<number, ReadonlySet<string>> | undefined
  readonly store?: string | null | undefined
  readonly turn?: number | null | undefined
}): Cursor => ({
  positions: fields?.positions ?? new Map(),
  ahead: fields?.ahead ?? new Map(),
  store: fields?.store ?? null,
  turn: fields?.turn ?? null
})

/**
 * The beginning of every shard of any store.
 *
 * @category constructors
 * @since 0.1.0
 */
export const empty: Cursor = make()

// ---------------------------------------------------------------------------------------------------------------------
// Positions
// ---------------------------------------------------------------------------------------------------------------------

/**
 * What kind of text a position is: `Numeric` is a decimal number below 2^128, `Redis` two decimal numbers below 2^64 joined by a hyphen,
 * `Opaque` anything else.
 *
 * @category models
 * @since 0.1.0
 */
export type PositionClass = "Numeric" | "Redis" | "Opaque"

const digits = /^[0-9]+$/
const pair = /^([0-9]+)-([0-9]+)$/
const u64 = "18446744073709551615"
const u128 = "340282366920938463463374607431768211455"

const withoutLeadingZeros = (number: string): string => {
  let from = 0
  while (from < number.length - 1 && number.charCodeAt(from) === 48) from++
  return from === 0 ? number : number.slice(from)
}

const compareText = (left: string, right: string): -1 | 0 | 1 => left < right ? -1 : left > right ? 1 : 0

const compareNumbers = (left: string, right: string): -1 | 0 | 1 => {
  const a = withoutLeadingZeros(left)
  const b = withoutLeadingZeros(right)
  return a.length === b.length ? compareText(a, b) : a.length < b.length ? -1 : 1
}

/**
 * The class of a position.
 *
 * @category getters
 * @since 0.1.0
 */
export const classOf = (position: string): PositionClass => {
  if (digits.test(position)) return compareNumbers(position, u128) <= 0 ? "Numeric" : "Opaque"
  const parts = pair.exec(position)
  return parts !== null && compareNumbers(parts[1]!, u64) <= 0 && compareNumbers(parts[2]!, u64) <= 0
    ? "Redis"
    : "Opaque"
}

const classOrder: Record<PositionClass, number> = { Numeric: 0, Redis: 1, Opaque: 2 }

/**
 * Orders positions: numbers by value, Redis ids by both their numbers, others by UTF-16 code unit, which is right for ULIDs and UUIDv7.
 * Positions of different classes never meet in one shard; so that the order is total, they are ordered by class.
 *
 * @category combinators
 * @since 0.1.0
 */
export const comparePositions = (left: string, right: string): -1 | 0 | 1 => {
  const leftClass = classOf(left)
  const rightClass = classOf(right)
  if (leftClass !== rightClass) return classOrder[leftClass] < classOrder[rightClass] ? -1 : 1
  if (leftClass === "Opaque") return compareText(left, right)
  if (leftClass === "Numeric") return compareNumbers(left, right)
  const at = left.indexOf("-")
  const bt = right.indexOf("-")
  const first = compareNumbers(left.slice(0, at), right.slice(0, bt))
  return first !== 0 ? first : compareNumbers(left.slice(at + 1), right.slice(bt + 1))
}

// ---------------------------------------------------------------------------------------------------------------------
// Combinators
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The position of a shard, null at its beginning.
 *
 * @category getters
 * @since 0.1.0
 */
export const get = (cursor: Cursor, shard: number): string | null => cursor.positions.get(shard) ?? null

/**
 * Moves a shard's position anywhere, forgetting what was returned ahead of the old one.
 *
 * @category combinators
 * @since 0.1.0
 */
export const set = (cursor: Cursor, shard: number, position: string): Cursor => {
  const ahead = new Map(cursor.ahead)
  ahead.delete(shard)
  return { ...cursor, positions: new Map(cursor.positions).set(shard, position), ahead }
}

/**
 * Moves a shard's position unless that would change its class: a store of another kind was put in place, and whoever reads has to say
 * where to start there. The direction is not checked.
 *
 * @category combinators
 * @since 0.1.0
 */
export const setChecked = (cursor: Cursor, shard: number, position: string): Result.Result<Cursor, CursorError> => {
  const current = cursor.positions.get(shard)
  return current === undefined || classOf(current) === classOf(position)
    ? Result.succeed(set(cursor, shard, position))
    : fail("ClassChange", classChange(shard, current, position))
}

/** @internal */
export const classChange = (shard: number, from: string, to: string): string =>
  `the position of shard ${shard} would change from ${classOf(from)} to ${
    classOf(to)
  }: another kind of store is in place; start without a cursor`

/**
 * Moves every shard to the furthest of the given events, never back and never to another class.
 *
 * @category combinators
 * @since 0.1.0
 */
export const advance = (
  cursor: Cursor,
  events: Iterable<{ readonly shard: number; readonly id: string }>
): Cursor => {
  const positions = new Map(cursor.positions)
  for (const { shard, id } of events) {
    const current = positions.get(shard)
    if (current === undefined || (classOf(current) === classOf(id) && comparePositions(current, id) < 0)) {
      positions.set(shard, id)
    }
  }
  return { ...cursor, positions }
}

/**
 * Whether two cursors stand at the same place.
 *
 * @category combinators
 * @since 0.1.0
 */
export const equals = (left: Cursor, right: Cursor): boolean =>
  left === right || CursorJson.write(left) === CursorJson.write(right)

/**
 * Refuses a cursor whose positions belong to another store. One that names none, the plain form, is taken at its word.
 *
 * @category guards
 * @since 0.1.0
 */
export const checkStore = (cursor: Cursor, store: string | null): Result.Result<Cursor, CursorError> =>
  cursor.store === null || cursor.store === store
    ? Result.succeed(cursor)
    : fail("OtherStore", "this is a cursor of another store")

// ---------------------------------------------------------------------------------------------------------------------
// Text
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The text form, never empty; fails when it would exceed {@link maxLength}.
 *
 * @category conversions
 * @since 0.1.0
 */
export const encode = (cursor: Cursor): Result.Result<string, CursorError> => {
  // The JSON is ASCII, which is all that the platform's own encoder takes.
  const text = btoa(CursorJson.write(cursor))
  return text.length > maxLength
    ? fail("TooLong", `the cursor would have ${text.length} characters, at most ${maxLength} are allowed`)
    : Result.succeed(text)
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/**
 * Reads the text form. What {@link encode} did not write, or a plain cursor of the same layout, is refused with the reason.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decode = (text: string): Result.Result<Cursor, CursorError> => {
  if (text.length > maxLength) {
    return fail("TooLong", `${text.length} characters, at most ${maxLength} are allowed`)
  }
  const bytes = Base64.decode(text)
  // Decoders let unused bits and line breaks pass; a cursor has one spelling.
  if (Result.isFailure(bytes) || text === "" || Base64.encode(bytes.success) !== text) {
    return fail("NotBase64", "this is not standard base64")
  }
  let json: string
  try {
    json = utf8.decode(bytes.success)
  } catch {
    return fail("NotJson", "the text inside is not UTF-8")
  }
  try {
    return Result.succeed(CursorJson.read(json))
  } catch (error) {
    if (error instanceof CursorJson.Malformed) return fail(error.what, error.message)
    throw error
  }
}
