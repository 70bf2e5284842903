/**
 * Predicates over JSON payloads: a value in TypeScript, JSON on the wire, a short text on a command line.
 *
 * | JSON | matches |
 * | --- | --- |
 * | `{"$and":[…]}` | when every child does; an empty list matches nothing |
 * | `{"$or":[…]}` | when some child does; an empty list matches nothing |
 * | `{"$not":{…}}` | when the child does not |
 * | `{"$eq":{"path":p,"value":v}}` or `{"path":p,"value":v}` | when the value at `p` equals `v`, member by member |
 * | `{"$exists":{"path":p}}` | when there is a value at `p`, `null` included |
 * | `{"$in":{"path":p,"values":[…]}}` | when the value at `p` equals one of them |
 * | `{"$gt":{"path":p,"value":v}}`, `$gte`, `$lt`, `$lte` | when the value at `p` is of the same type as `v` and compares so: numbers numerically, texts by UTF-16 code unit, anything else never |
 *
 * A path is dotted and knows no escape; `""` is the whole payload. On an object a segment is an own key, on an array it must be an index in
 * its canonical spelling; a missing member, or a step into a primitive, matches nothing but `$not`. Types never coerce; numbers are compared
 * as JavaScript holds them, so `1` equals `1.0`, and integers beyond 2^53 are equal to their neighbours.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as FieldPath from "./internal/FieldPath.ts"
import * as FilterText from "./internal/FilterText.ts"
import { Checker, maxSize as wireSize, Refusal, refuse } from "./internal/FilterWire.ts"

/**
 * A JSON value.
 *
 * @category models
 * @since 0.1.0
 */
export type Json = Schema.Json

/** @category models @since 0.1.0 */
export type CompareOperator = "gt" | "gte" | "lt" | "lte"

/**
 * A predicate over JSON payloads; see the head of this module for what each one matches.
 *
 * @category models
 * @since 0.1.0
 */
export type Filter =
  | { readonly _tag: "And"; readonly filters: ReadonlyArray<Filter> }
  | { readonly _tag: "Or"; readonly filters: ReadonlyArray<Filter> }
  | { readonly _tag: "Not"; readonly filter: Filter }
  | { readonly _tag: "Equals"; readonly path: string; readonly value: Json }
  | { readonly _tag: "Exists"; readonly path: string }
  | { readonly _tag: "In"; readonly path: string; readonly values: ReadonlyArray<Json> }
  | {
    readonly _tag: "Compare"
    readonly operator: CompareOperator
    readonly path: string
    readonly value: number | string
  }

/**
 * Why a filter was refused. `at` is a JSON pointer into the wire form.
 *
 * - `Syntax`: the text is not a filter; `column` counts from 1 in the text syntax and is null in JSON.
 * - `Shape`: an object is none of the shapes, misses a member, or has one too many.
 * - `UnknownOperator`: a `$` key that is no operator.
 * - `TooDeep`: more than `limit` levels of nesting.
 * - `TooLarge`: more than `limit` UTF-16 code units of text, or as many members.
 *
 * @category errors
 * @since 0.1.0
 */
export type FilterErrorReason =
  | { readonly _tag: "Syntax"; readonly column: number | null; readonly message: string }
  | { readonly _tag: "Shape"; readonly at: string; readonly message: string }
  | { readonly _tag: "UnknownOperator"; readonly at: string; readonly operator: string }
  | { readonly _tag: "TooDeep"; readonly limit: number }
  | { readonly _tag: "TooLarge"; readonly limit: number }

const describe = (reason: FilterErrorReason): string => {
  switch (reason._tag) {
    case "Syntax":
      return reason.column === null ? reason.message : `column ${reason.column}: ${reason.message}`
    case "Shape":
      return `at ${reason.at === "" ? "the top" : reason.at}: ${reason.message}`
    case "UnknownOperator":
      return `at ${reason.at === "" ? "the top" : reason.at}: unknown operator ${JSON.stringify(reason.operator)}`
    case "TooDeep":
      return `nested deeper than ${reason.limit} levels`
    case "TooLarge":
      return `larger than ${reason.limit}`
  }
}

/**
 * Failure to read a filter, with its tagged `reason`.
 *
 * @category errors
 * @since 0.1.0
 */
export class FilterError extends Data.TaggedError("FilterError")<{ readonly reason: FilterErrorReason }> {
  override get message(): string {
    return `invalid filter: ${describe(this.reason)}`
  }
}

/**
 * Levels of brackets that the wire and text forms may have.
 *
 * @category limits
 * @since 0.1.0
 */
export const maxDepth = 128

/**
 * Levels of `And`, `Or` and `Not` that a filter built in the program may have.
 *
 * @category limits
 * @since 0.1.0
 */
export const maxNesting = 1024

/**
 * UTF-16 code units of a filter's text, and members of its wire form.
 *
 * @category limits
 * @since 0.1.0
 */
export const maxSize: number = wireSize

/** Matches when every filter does. @category constructors @since 0.1.0 */
export const and = (...filters: ReadonlyArray<Filter>): Filter => ({ _tag: "And", filters })

/** Matches when some filter does. @category constructors @since 0.1.0 */
export const or = (...filters: ReadonlyArray<Filter>): Filter => ({ _tag: "Or", filters })

/** Matches when the filter does not. @category constructors @since 0.1.0 */
export const not = (filter: Filter): Filter => ({ _tag: "Not", filter })

/** Matches when the value at `path` equals `value`. @category constructors @since 0.1.0 */
export const eq = (path: string, value: Json): Filter => ({ _tag: "Equals", path, value })

/** Matches when there is a value at `path`. @category constructors @since 0.1.0 */
export const exists = (path: string): Filter => ({ _tag: "Exists", path })

/** Matches when the value at `path` equals one of `values`. @category constructors @since 0.1.0 */
export const oneOf = (path: string, values: ReadonlyArray<Json>): Filter => ({ _tag: "In", path, values })

const comparing = (operator: CompareOperator) => (path: string, value: number | string): Filter => ({
  _tag: "Compare",
  operator,
  path,
  value
})

/** Matches when the value at `path` is greater. @category constructors @since 0.1.0 */
export const gt = comparing("gt")

/** Matches when the value at `path` is greater or equal. @category constructors @since 0.1.0 */
export const gte = comparing("gte")

/** Matches when the value at `path` is less. @category constructors @since 0.1.0 */
export const lt = comparing("lt")

/** Matches when the value at `path` is less or equal. @category constructors @since 0.1.0 */
export const lte = comparing("lte")

/**
 * Collects conditions and joins them; one condition stays bare. Every method returns a new builder.
 *
 * @category models
 * @since 0.1.0
 */
export interface Builder {
  readonly filters: ReadonlyArray<Filter>
  readonly add: (filter: Filter) => Builder
  readonly eq: (path: string, value: Json) => Builder
  readonly and: () => Filter
  readonly or: () => Filter
}

const makeBuilder = (filters: ReadonlyArray<Filter>): Builder => ({
  filters,
  add: (filter) => makeBuilder([...filters, filter]),
  eq: (path, value) => makeBuilder([...filters, eq(path, value)]),
  and: () => filters.length === 1 ? filters[0]! : and(...filters),
  or: () => filters.length === 1 ? filters[0]! : or(...filters)
})

/**
 * An empty {@link Builder}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const builder: Builder = makeBuilder([])

// ---------------------------------------------------------------------------------------------------------------------
// Evaluation
// ---------------------------------------------------------------------------------------------------------------------

// The recursion is bounded by the shallower of the two, hence by the filter's own value.
const jsonEquals = (left: unknown, right: unknown): boolean => {
  if (left === right) return true
  if (typeof left !== "object" || typeof right !== "object" || left === null || right === null) return false
  if (Array.isArray(left)) {
    if (!Array.isArray(right) || left.length !== right.length) return false
    for (let i = 0; i < left.length; i++) if (!jsonEquals(left[i], right[i])) return false
    return true
  }
  if (Array.isArray(right)) return false
  const keys = Object.keys(left)
  if (keys.length !== Object.keys(right).length) return false
  for (const key of keys) {
    if (!Object.hasOwn(right, key)) return false
    if (!jsonEquals((left as Record<string, unknown>)[key], (right as Record<string, unknown>)[key])) return false
  }
  return true
}

const compares = (operator: CompareOperator, found: unknown, value: number | string): boolean => {
  if (typeof found !== typeof value) return false
  switch (operator) {
    case "gt":
      return (found as typeof value) > value
    case "gte":
      return (found as typeof value) >= value
    case "lt":
      return (found as typeof value) < value
    case "lte":
      return (found as typeof value) <= value
  }
}

/**
 * Evaluates a filter against a parsed payload. For more than one payload, {@link compile} it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const matches = (filter: Filter, value: unknown): boolean => {
  switch (filter._tag) {
    case "And":
      return filter.filters.length > 0 && filter.filters.every((child) => matches(child, value))
    case "Or":
      return filter.filters.some((child) => matches(child, value))
    case "Not":
      return !matches(filter.filter, value)
    case "Equals":
      return jsonEquals(FieldPath.get(value, FieldPath.split(filter.path)), filter.value)
    case "Exists":
      return FieldPath.get(value, FieldPath.split(filter.path)) !== undefined
    case "In": {
      const found = FieldPath.get(value, FieldPath.split(filter.path))
      return filter.values.some((candidate) => jsonEquals(found, candidate))
    }
    case "Compare":
      return compares(filter.operator, FieldPath.get(value, FieldPath.split(filter.path)), filter.value)
  }
}

/**
 * Turns a filter into a function that agrees with {@link matches}, its paths split once. Of a filter from untyped code, {@link validate} it first.
 *
 * @category combinators
 * @since 0.1.0
 */
export const compile = (filter: Filter): (value: unknown) => boolean => {
  switch (filter._tag) {
    case "And":
    case "Or": {
      const children = filter.filters.map(compile)
      if (children.length === 0) return () => false
      if (children.length === 1) return children[0]!
      const decisive = filter._tag === "Or"
      return (value) => {
        for (const child of children) if (child(value) === decisive) return decisive
        return !decisive
      }
    }
    case "Not": {
      const child = compile(filter.filter)
      return (value) => !child(value)
    }
    case "Equals": {
      const path = FieldPath.split(filter.path)
      const expected = filter.value
      return typeof expected === "object" && expected !== null
        ? (value) => jsonEquals(FieldPath.get(value, path), expected)
        : (value) => FieldPath.get(value, path) === expected
    }
    case "Exists": {
      const path = FieldPath.split(filter.path)
      return (value) => FieldPath.get(value, path) !== undefined
    }
    case "In": {
      const path = FieldPath.split(filter.path)
      const simple = new Set<unknown>(filter.values.filter((value) => typeof value !== "object" || value === null))
      const structured = filter.values.filter((value) => typeof value === "object" && value !== null)
      return (value) => {
        const found = FieldPath.get(value, path)
        return simple.has(found) || structured.some((candidate) => jsonEquals(found, candidate))
      }
    }
    case "Compare": {
      const path = FieldPath.split(filter.path)
      const { operator, value: bound } = filter
      return (value) => compares(operator, FieldPath.get(value, path), bound)
    }
  }
}

/**
 * Whether two filters have the same structure; the order of keys inside values does not count, the order of children does.
 *
 * @category combinators
 * @since 0.1.0
 */
export const equals = (left: Filter, right: Filter): boolean => jsonEquals(left, right)

// ---------------------------------------------------------------------------------------------------------------------
// Wire form
// ---------------------------------------------------------------------------------------------------------------------

const attempt = <A>(read: () => A): Result.Result<A, FilterError> => {
  try {
    return Result.succeed(read())
  } catch (error) {
    if (error instanceof Refusal) return Result.fail(new FilterError({ reason: error.reason }))
    throw error
  }
}

/**
 * Reads the wire form, already parsed. Every member is checked: an unknown operator or a member too many is refused, never ignored.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromJson = (value: unknown): Result.Result<Filter, FilterError> =>
  attempt(() => new Checker(maxDepth).wire(value, "", 1))

/**
 * Reads the wire form from JSON text.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromJsonString = (text: string): Result.Result<Filter, FilterError> =>
  attempt(() => {
    if (text.length > maxSize) refuse({ _tag: "TooLarge", limit: maxSize })
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch (cause) {
      return refuse({
        _tag: "Syntax",
        column: null,
        message: `this is not JSON: ${(cause as Error).message.slice(0, 200)}`
      })
    }
    return new Checker(maxDepth).wire(value, "", 1)
  })

/**
 * Reads the text syntax, for people: `magnitude>=6`, `source=us and place.name="Honshu, Japan"`, `not (net in (us, ak) or magnitude exists)`.
 * `and` binds tighter than `or`; a value is a JSON value or a bare word; `a!=1` is `not a=1` and so matches payloads without `a`. Text that
 * begins with `{` is read as the wire form.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromText = (text: string): Result.Result<Filter, FilterError> => {
  if (text.trimStart().startsWith("{")) return fromJsonString(text)
  if (text.length > maxSize) return Result.fail(new FilterError({ reason: { _tag: "TooLarge", limit: maxSize } }))
  const parsed = FilterText.parse(text)
  return "filter" in parsed
    ? Result.succeed(parsed.filter)
    : Result.fail(new FilterError({ reason: { _tag: "Syntax", ...parsed.error } }))
}

/**
 * The wire form.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toJson = (filter: Filter): Json => {
  switch (filter._tag) {
    case "And":
      return { $and: filter.filters.map(toJson) }
    case "Or":
      return { $or: filter.filters.map(toJson) }
    case "Not":
      return { $not: toJson(filter.filter) }
    case "Equals":
      return { $eq: { path: filter.path, value: filter.value } }
    case "Exists":
      return { $exists: { path: filter.path } }
    case "In":
      return { $in: { path: filter.path, values: filter.values } }
    case "Compare":
      return { [`$${filter.operator}`]: { path: filter.path, value: filter.value } }
  }
}

/**
 * The text form of a filter: the text syntax, or the wire form's JSON when the filter holds an empty list. {@link fromText} reads both.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toText = (filter: Filter): string => FilterText.format(filter) ?? JSON.stringify(toJson(filter))

/**
 * Checks a filter that untyped code may have built: its shape, at most {@link maxNesting} levels, JSON values only.
 *
 * @category guards
 * @since 0.1.0
 */
export const validate = (filter: Filter): Result.Result<Filter, FilterError> =>
  attempt(() => {
    new Checker(maxNesting).tagged(filter, "", 1)
    return filter
  })

const Declared = Schema.declare((value): value is Filter => Result.isSuccess(validate(value as Filter)), {
  expected: "a filter"
})

const decoding = <I>(read: (input: I) => Result.Result<Filter, FilterError>) =>
(
  input: I
): Effect.Effect<Filter, SchemaIssue.Issue> => {
  const result = read(input)
  return Result.isSuccess(result)
    ? Effect.succeed(result.success)
    : Effect.fail(new SchemaIssue.InvalidValue({ message: result.failure.message }))
}

/**
 * Schema of a filter whose encoded side is the wire form, for bodies.
 *
 * @category schemas
 * @since 0.1.0
 */
export const FromJson: Schema.Codec<Filter, unknown> = Schema.Unknown.annotate({
  description: "A filter, e.g. {\"$gte\":{\"path\":\"magnitude\",\"value\":6}}"
}).pipe(
  Schema.decodeTo(
    Declared,
    SchemaTransformation.transformEffect({
      decode: decoding(fromJson),
      encode: (filter: Filter): Effect.Effect<unknown> => Effect.succeed(toJson(filter))
    })
  )
)

/**
 * Schema of a filter whose encoded side is text, for query strings and command lines: decodes what {@link fromText} reads.
 *
 * @category schemas
 * @since 0.1.0
 */
export const FromText: Schema.Codec<Filter, string> = Schema.String.annotate({
  description: "A filter: magnitude>=6 and net in (us, ak), or its JSON form"
}).pipe(
  Schema.decodeTo(
    Declared,
    SchemaTransformation.transformEffect({
      decode: decoding(fromText),
      encode: (filter) => Effect.succeed(toText(filter))
    })
  )
)
