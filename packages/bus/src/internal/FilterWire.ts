/** Reads filters from input that nobody has checked: the JSON wire form, and values that claim to be filters. */
import type { CompareOperator, Filter, FilterErrorReason, Json } from "../Filter.ts"

/** Thrown inside this module and turned into a typed error by its caller. */
export class Refusal {
  readonly reason: FilterErrorReason
  constructor(reason: FilterErrorReason) {
    this.reason = reason
  }
}

/** UTF-16 code units of a filter's text, and members of its wire form. */
export const maxSize = 262_144

const operators: Record<string, CompareOperator> = { $gt: "gt", $gte: "gte", $lt: "lt", $lte: "lte" }

export const refuse = (reason: FilterErrorReason): never => {
  throw new Refusal(reason)
}

/** Walks untrusted input; the level is checked before every step down. */
export class Checker {
  size = 0
  readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  enter(level: number): void {
    if (level > this.limit) refuse({ _tag: "TooDeep", limit: this.limit })
    this.count()
  }

  count(): void {
    if (++this.size > maxSize) refuse({ _tag: "TooLarge", limit: maxSize })
  }

  json(value: unknown, at: string, level: number): Json {
    if (typeof value === "object" && value !== null) {
      this.enter(level)
      if (Array.isArray(value)) value.forEach((item, index) => this.json(item, `${at}/${index}`, level + 1))
      else for (const [key, item] of Object.entries(value)) this.json(item, pointer(at, key), level + 1)
      return value as Json
    }
    this.count()
    if (
      typeof value === "number"
        ? Number.isFinite(value)
        : typeof value === "string" || typeof value === "boolean" || value === null
    ) {
      return value as Json
    }
    return refuse({ _tag: "Shape", at, message: "a JSON value was expected" })
  }

  path(value: unknown, at: string): string {
    this.count()
    return typeof value === "string" ? value : refuse({ _tag: "Shape", at, message: "a path must be a string" })
  }

  bound(value: unknown, at: string): number | string {
    this.count()
    return typeof value === "string" || (typeof value === "number" && Number.isFinite(value))
      ? value
      : refuse({ _tag: "Shape", at, message: "a comparison takes a number or a string" })
  }

  list(value: unknown, at: string, level: number): ReadonlyArray<unknown> {
    this.enter(level)
    return Array.isArray(value) ? value : refuse({ _tag: "Shape", at, message: "a list was expected" })
  }

  /** An object with exactly these members. */
  members(value: unknown, names: ReadonlyArray<string>, at: string, level: number): Record<string, unknown> {
    this.enter(level)
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return refuse({ _tag: "Shape", at, message: `an object with ${listed(names)} was expected` })
    }
    for (const name of names) {
      if (!Object.hasOwn(value, name)) refuse({ _tag: "Shape", at, message: `${JSON.stringify(name)} is missing` })
    }
    for (const key of Object.keys(value)) {
      if (!names.includes(key)) refuse({ _tag: "Shape", at, message: `unexpected member ${shortened(key)}` })
    }
    return value as Record<string, unknown>
  }

  wire(value: unknown, at: string, level: number): Filter {
    this.enter(level)
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return refuse({ _tag: "Shape", at, message: "a filter is an object" })
    }
    const keys = Object.keys(value)
    const operator = keys.find((key) => key.startsWith("$"))
    if (operator === undefined) {
      const { path, value: expected } = this.members(value, ["path", "value"], at, level)
      return {
        _tag: "Equals",
        path: this.path(path, `${at}/path`),
        value: this.json(expected, `${at}/value`, level + 1)
      }
    }
    if (keys.length > 1) {
      refuse({ _tag: "Shape", at, message: `${shortened(operator)} must be the only member` })
    }
    const inner = (value as Record<string, unknown>)[operator]
    const below = pointer(at, operator)
    switch (operator) {
      case "$and":
      case "$or": {
        const filters = this.list(inner, below, level + 1).map((child, index) =>
          this.wire(child, `${below}/${index}`, level + 2)
        )
        return { _tag: operator === "$and" ? "And" : "Or", filters }
      }
      case "$not":
        return { _tag: "Not", filter: this.wire(inner, below, level + 1) }
      case "$eq": {
        const { path, value: expected } = this.members(inner, ["path", "value"], below, level + 1)
        return {
          _tag: "Equals",
          path: this.path(path, `${below}/path`),
          value: this.json(expected, `${below}/value`, level + 2)
        }
      }
      case "$exists":
        return {
          _tag: "Exists",
          path: this.path(this.members(inner, ["path"], below, level + 1)["path"], `${below}/path`)
        }
      case "$in": {
        const { path, values } = this.members(inner, ["path", "values"], below, level + 1)
        this.list(values, `${below}/values`, level + 2)
        return {
          _tag: "In",
          path: this.path(path, `${below}/path`),
          values: this.json(values, `${below}/values`, level + 2) as ReadonlyArray<Json>
        }
      }
      case "$gt":
      case "$gte":
      case "$lt":
      case "$lte": {
        const { path, value: bound } = this.members(inner, ["path", "value"], below, level + 1)
        return {
          _tag: "Compare",
          operator: operators[operator]!,
          path: this.path(path, `${below}/path`),
          value: this.bound(bound, `${below}/value`)
        }
      }
      default:
        return refuse({ _tag: "UnknownOperator", at, operator: operator.slice(0, 64) })
    }
  }

  /** A filter as untyped code may hand it over. */
  tagged(filter: Filter, at: string, level: number): void {
    this.enter(level)
    const tag = typeof filter === "object" && filter !== null ? filter._tag : undefined
    switch (tag) {
      case "And":
      case "Or": {
        const { filters } = filter as Extract<Filter, { readonly _tag: "And" }>
        this.list(filters, at, level).forEach((child, index) =>
          this.tagged(child as Filter, `${at}/${index}`, level + 1)
        )
        return
      }
      case "Not":
        return this.tagged((filter as Extract<Filter, { readonly _tag: "Not" }>).filter, `${at}/filter`, level + 1)
      case "Equals":
      case "Exists":
      case "In":
      case "Compare":
        break
      default:
        return refuse({ _tag: "Shape", at, message: "this is no filter; JSON goes through Filter.fromJson" })
    }
    const leaf = filter as Exclude<Filter, { readonly _tag: "And" | "Or" | "Not" }>
    this.path(leaf.path, `${at}/path`)
    if (leaf._tag === "Equals") this.json(leaf.value, `${at}/value`, level + 1)
    if (leaf._tag === "In") this.json(this.list(leaf.values, `${at}/values`, level + 1), `${at}/values`, level + 1)
    if (leaf._tag === "Compare") {
      this.bound(leaf.value, `${at}/value`)
      if (!Object.values(operators).includes(leaf.operator)) {
        refuse({ _tag: "UnknownOperator", at, operator: String(leaf.operator).slice(0, 64) })
      }
    }
  }
}

const shortened = (text: string): string => JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text)

const listed = (names: ReadonlyArray<string>): string => names.map((name) => JSON.stringify(name)).join(" and ")

const pointer = (at: string, key: string): string =>
  `${at}/${key.slice(0, 64).replaceAll("~", "~0").replaceAll("/", "~1")}`
