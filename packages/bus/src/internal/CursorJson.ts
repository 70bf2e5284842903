/**
 * The JSON inside a cursor, read strictly: `JSON.parse` swallows duplicate keys, which here would hide a forged or damaged position.
 *
 *     {"0":"1700-3","7":"42","store":"…","turn":"7","ahead":{"0":["1700-9"]}}
 */
import * as JsonString from "./JsonString.ts"

export interface Fields {
  readonly positions: Map<number, string>
  readonly ahead: Map<number, Set<string>>
  store: string | null
  turn: number | null
}

/** Thrown inside this module and turned into a typed error by its caller. */
export class Malformed {
  readonly what: "NotJson" | "InvalidShard" | "Duplicate" | "InvalidPosition"
  readonly message: string
  constructor(what: Malformed["what"], message: string) {
    this.what = what
    this.message = message
  }
}

export const maxShard = 65_535
export const maxPositionLength = 1024
export const maxAhead = 1024

const space = /[ \t\n\r]*/y
const canonicalShard = /^(?:0|[1-9][0-9]{0,4})$/

const shardOf = (key: string): number => {
  const shard = canonicalShard.test(key) ? Number(key) : -1
  if (shard < 0 || shard > maxShard) {
    throw new Malformed(
      "InvalidShard",
      `${JSON.stringify(key.slice(0, 32))} is not a shard number in its canonical form`
    )
  }
  return shard
}

class Reader {
  readonly text: string
  at = 0

  constructor(text: string) {
    this.text = text
  }

  skip(): void {
    space.lastIndex = this.at
    space.exec(this.text)
    this.at = space.lastIndex
  }

  peek(): string | undefined {
    this.skip()
    return this.text[this.at]
  }

  take(character: string): boolean {
    if (this.peek() !== character) return false
    this.at++
    return true
  }

  expect(character: string): void {
    if (!this.take(character)) throw new Malformed("NotJson", `expected ${character} at offset ${this.at}`)
  }

  string(): string {
    this.skip()
    const literal = JsonString.read(this.text, this.at)
    if (literal === undefined) throw new Malformed("NotJson", `expected a string at offset ${this.at}`)
    this.at = literal.end
    return literal.value
  }

  position(): string {
    const id = this.string()
    if (id === "" || id.length > maxPositionLength) {
      throw new Malformed(
        "InvalidPosition",
        `a position has 1 to ${maxPositionLength} characters, this one ${id.length}`
      )
    }
    return id
  }

  object(member: (key: string) => void): void {
    this.expect("{")
    if (this.take("}")) return
    do {
      const key = this.string()
      this.expect(":")
      member(key)
    } while (this.take(","))
    this.expect("}")
  }
}

export const read = (text: string): Fields => {
  const reader = new Reader(text)
  const fields: Fields = { positions: new Map(), ahead: new Map(), store: null, turn: null }
  const seen = new Set<string>()
  let aheadCount = 0
  reader.object((key) => {
    if (seen.has(key)) throw new Malformed("Duplicate", `${JSON.stringify(key.slice(0, 32))} is there twice`)
    seen.add(key)
    switch (key) {
      case "store":
        fields.store = reader.position()
        return
      case "turn":
        fields.turn = shardOf(reader.string())
        return
      case "ahead":
        return reader.object((key) => {
          const shard = shardOf(key)
          if (fields.ahead.has(shard)) throw new Malformed("Duplicate", `shard ${shard} is there twice`)
          const ids = new Set<string>()
          reader.expect("[")
          do {
            const id = reader.position()
            if (ids.has(id)) throw new Malformed("Duplicate", `a position of shard ${shard} is there twice`)
            if (++aheadCount > maxAhead) throw new Malformed("InvalidPosition", `more than ${maxAhead} positions ahead`)
            ids.add(id)
          } while (reader.take(","))
          reader.expect("]")
          fields.ahead.set(shard, ids)
        })
      default:
        fields.positions.set(shardOf(key), reader.position())
    }
  })
  if (reader.peek() !== undefined) throw new Malformed("NotJson", `unexpected text at offset ${reader.at}`)
  return fields
}

const plain = /^[\w-]*$/
const beyondAscii = /[\u0080-\uffff]/g

/** A string literal in ASCII, whatever it holds. */
const quote = (text: string): string =>
  plain.test(text)
    ? `"${text}"`
    : JSON.stringify(text).replace(beyondAscii, escape)

const escape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`

const ascending = <A>(map: ReadonlyMap<number, A>): ReadonlyMap<number, A> => {
  let last = -1
  for (const shard of map.keys()) {
    if (shard < last) return new Map([...map].sort(([a], [b]) => a - b))
    last = shard
  }
  return map
}

/** Writes ASCII only: equal cursors are equal texts. */
export const write = (fields: {
  readonly positions: ReadonlyMap<number, string>
  readonly ahead: ReadonlyMap<number, ReadonlySet<string>>
  readonly store: string | null
  readonly turn: number | null
}): string => {
  let json = ""
  for (const [shard, position] of ascending(fields.positions)) json += `,"${shard}":${quote(position)}`
  if (fields.store !== null) json += `,"store":${quote(fields.store)}`
  if (fields.turn !== null) json += `,"turn":"${fields.turn}"`
  if (fields.ahead.size > 0) {
    let lists = ""
    for (const [shard, ids] of ascending(fields.ahead)) lists += `,"${shard}":[${Array.from(ids, quote).join(",")}]`
    json += `,"ahead":{${lists.slice(1)}}`
  }
  return `{${json.slice(1)}}`
}
