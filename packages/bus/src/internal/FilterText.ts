/**
 * The text syntax of filters, for a command line or an address:
 *
 *     filter    = clause { "or" clause }
 *     clause    = term { "and" term }
 *     term      = "not" term | "(" filter ")" | condition
 *     condition = path ( "=" | "==" | "!=" | ">" | ">=" | "<" | "<=" ) value
 *               | path "exists" | path "in" "(" value { "," value } ")"
 *     path      = bare word | JSON string
 *     value     = JSON number | JSON string | true | false | null | JSON array or object | bare word
 */
import type { CompareOperator, Filter, Json } from "../Filter.ts"
import * as JsonString from "./JsonString.ts"

/** Where the text stopped making sense; `column` counts UTF-16 code units from 1. */
export interface TextError {
  readonly column: number
  readonly message: string
}

class Failure {
  readonly error: TextError
  constructor(column: number, message: string) {
    this.error = { column, message }
  }
}

const maxDepth = 128
const space = /\s*/y
const operator = /==|=|!=|>=|<=|>|</y
const barePath = /[^\s=!<>()",{}[\]]+/y
const bareValue = /[^\s=!<>()",{}[\]][^\s()",]*/y
const jsonNumber = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/
const numberLike = /^[-+.]?[0-9]/
const keywords = new Set(["and", "or", "not", "in", "exists"])
const compare: Record<string, CompareOperator> = { ">": "gt", ">=": "gte", "<": "lt", "<=": "lte" }
const symbols: Record<CompareOperator, string> = { gt: ">", gte: ">=", lt: "<", lte: "<=" }

class Reader {
  readonly text: string
  at = 0
  depth = 0

  constructor(text: string) {
    this.text = text
  }

  fail(expected: string, at = this.at): never {
    const found = at >= this.text.length ? "the end" : JSON.stringify(this.text.slice(at, at + 16))
    throw new Failure(at + 1, `expected ${expected}, found ${found}`)
  }

  match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at
    const match = pattern.exec(this.text)
    if (match === null) return undefined
    this.at = pattern.lastIndex
    return match[0]
  }

  quoted(): string | undefined {
    const literal = JsonString.read(this.text, this.at)
    if (literal !== undefined) this.at = literal.end
    return literal?.value
  }

  skip(): void {
    this.match(space)
  }

  take(character: string): boolean {
    if (this.text[this.at] !== character) return false
    this.at++
    return true
  }

  /** Takes a keyword standing alone: `order` does not begin with `or`. */
  keyword(word: string): boolean {
    const from = this.at
    if (this.match(barePath) === word) return true
    this.at = from
    return false
  }

  all(): Filter {
    this.skip()
    const filter = this.filter()
    if (this.at < this.text.length) this.fail("\"and\", \"or\" or the end")
    return filter
  }

  filter(): Filter {
    const filters = [this.clause()]
    while (this.keyword("or")) filters.push(this.clause())
    return filters.length === 1 ? filters[0]! : { _tag: "Or", filters }
  }

  clause(): Filter {
    const filters = [this.term()]
    while (this.keyword("and")) filters.push(this.term())
    return filters.length === 1 ? filters[0]! : { _tag: "And", filters }
  }

  term(): Filter {
    this.skip()
    if (++this.depth > maxDepth) throw new Failure(this.at + 1, `nested deeper than ${maxDepth} levels`)
    let filter: Filter
    if (this.take("(")) {
      filter = this.filter()
      if (!this.take(")")) this.fail("\")\", \"and\" or \"or\"")
    } else if (this.keyword("not")) {
      filter = { _tag: "Not", filter: this.term() }
    } else {
      filter = this.condition()
    }
    this.depth--
    this.skip()
    return filter
  }

  condition(): Filter {
    const path = this.path()
    this.skip()
    if (this.keyword("exists")) return { _tag: "Exists", path }
    if (this.keyword("in")) return { _tag: "In", path, values: this.values() }
    const sign = this.match(operator)
    if (sign === undefined) this.fail("=, !=, >, >=, <, <=, \"in\" or \"exists\"")
    this.skip()
    const at = this.at
    const value = this.value()
    if (sign === "=" || sign === "==") return { _tag: "Equals", path, value }
    if (sign === "!=") return { _tag: "Not", filter: { _tag: "Equals", path, value } }
    if (typeof value !== "number" && typeof value !== "string") this.fail(`a number or a text after ${sign}`, at)
    return { _tag: "Compare", operator: compare[sign]!, path, value }
  }

  path(): string {
    const quoted = this.quoted()
    if (quoted !== undefined) return quoted
    const at = this.at
    const word = this.match(barePath)
    if (word === undefined) this.fail("a path")
    if (keywords.has(word)) this.fail(`a path (write "${word}" in quotes if it is one)`, at)
    return word
  }

  values(): ReadonlyArray<Json> {
    this.skip()
    if (!this.take("(")) this.fail("\"(\" after \"in\"")
    const values: Array<Json> = []
    do {
      this.skip()
      values.push(this.value())
      this.skip()
    } while (this.take(","))
    if (!this.take(")")) this.fail("\",\" or \")\"")
    return values
  }

  value(): Json {
    const at = this.at
    const first = this.text[at]
    if (first === "{" || first === "[") return this.json()
    const quoted = this.quoted()
    if (quoted !== undefined) return quoted
    if (first === "\"") {
      throw new Failure(at + 1, "this text has no closing quote, or a character that JSON would escape")
    }
    const word = this.match(bareValue)
    if (word === undefined) this.fail("a value")
    if (word === "true") return true
    if (word === "false") return false
    if (word === "null") return null
    if (!numberLike.test(word)) return word
    // "2026-01-01" begins like a number and is a text; "1e999" is a number that JSON readers do not keep.
    if (!jsonNumber.test(word)) return word
    const number = Number(word)
    if (!Number.isFinite(number)) throw new Failure(at + 1, `${word} is out of range for a number`)
    return number
  }

  /** A JSON array or object: its end is found first, then it is parsed. */
  json(): Json {
    const from = this.at
    let depth = 0
    while (this.at < this.text.length) {
      if (this.quoted() !== undefined) continue
      const character = this.text[this.at++]
      if (character === "{" || character === "[") {
        if (++depth > maxDepth) throw new Failure(this.at, `nested deeper than ${maxDepth} levels`)
      } else if ((character === "}" || character === "]") && --depth === 0) {
        try {
          return JSON.parse(this.text.slice(from, this.at)) as Json
        } catch {
          throw new Failure(from + 1, "this is not a JSON value")
        }
      }
    }
    throw new Failure(from + 1, "this JSON value does not end")
  }
}

/** Reads the text syntax; an error value rather than a filter when it cannot. */
export const parse = (text: string): { readonly filter: Filter } | { readonly error: TextError } => {
  try {
    return { filter: new Reader(text).all() }
  } catch (failure) {
    if (failure instanceof Failure) return { error: failure.error }
    throw failure
  }
}

const printPath = (path: string): string => {
  barePath.lastIndex = 0
  return !keywords.has(path) && barePath.test(path) && barePath.lastIndex === path.length ? path : JSON.stringify(path)
}

const print = (filter: Filter): string => {
  switch (filter._tag) {
    case "And":
    case "Or":
      return filter.filters.map(printTerm).join(filter._tag === "And" ? " and " : " or ")
    case "Not":
      return filter.filter._tag === "Equals"
        ? `${printPath(filter.filter.path)}!=${JSON.stringify(filter.filter.value)}`
        : `not ${printTerm(filter.filter)}`
    case "Equals":
      return `${printPath(filter.path)}=${JSON.stringify(filter.value)}`
    case "Exists":
      return `${printPath(filter.path)} exists`
    case "In":
      return `${printPath(filter.path)} in (${filter.values.map((value) => JSON.stringify(value)).join(", ")})`
    case "Compare":
      return `${printPath(filter.path)}${symbols[filter.operator]}${JSON.stringify(filter.value)}`
  }
}

const printTerm = (filter: Filter): string =>
  (filter._tag === "And" || filter._tag === "Or") && filter.filters.length > 1 ? `(${print(filter)})` : print(filter)

/** Whether a filter can be written in the text syntax: it has no place for empty lists. */
const isPrintable = (filter: Filter): boolean => {
  switch (filter._tag) {
    case "And":
    case "Or":
      return filter.filters.length > 0 && filter.filters.every(isPrintable)
    case "Not":
      return isPrintable(filter.filter)
    case "In":
      return filter.values.length > 0
    default:
      return true
  }
}

/** The text form of a filter, or undefined when it has none. */
export const format = (filter: Filter): string | undefined => isPrintable(filter) ? print(filter) : undefined
