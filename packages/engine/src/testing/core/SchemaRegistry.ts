/**
 * The schemas of one topic: numbered versions, and the rule by which a new one is admitted.
 */
import { fail, type Failure } from "./Failure.ts"

export interface StoredSchema {
  readonly name: string
  readonly type: number
  readonly data: Uint8Array
  readonly properties: ReadonlyArray<readonly [string, string]>
}

/** `FULL`: old readers read new data and new readers old; `ALWAYS_COMPATIBLE`: everything is admitted; `ALWAYS_INCOMPATIBLE`: nothing new is. */
export type SchemaCompatibility = "FULL" | "ALWAYS_COMPATIBLE" | "ALWAYS_INCOMPATIBLE"

const decoder = new TextDecoder()

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at])

/** JSON with the keys of objects in order, so that layout does not matter. */
const canonical = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1)
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(",")}}`
}

interface RecordDefinition {
  readonly type: "record"
  readonly fields: ReadonlyArray<{ readonly name: string; readonly type: unknown; readonly default?: unknown }>
}

const recordOf = (schema: StoredSchema): RecordDefinition | undefined => {
  try {
    const parsed = JSON.parse(decoder.decode(schema.data)) as RecordDefinition
    return parsed.type === "record" && Array.isArray(parsed.fields) ? parsed : undefined
  } catch {
    return undefined
  }
}

const JSON_TYPE = 2
const AVRO_TYPE = 4

/** Records by Avro's rules for both directions, without promotions: common fields keep their type, others have a default on the side that has them. */
const isFullyCompatible = (before: StoredSchema, after: StoredSchema): boolean => {
  if (before.type !== after.type) return false
  if (before.type !== JSON_TYPE && before.type !== AVRO_TYPE) return true
  const a = recordOf(before)
  const b = recordOf(after)
  if (a === undefined || b === undefined) return sameBytes(before.data, after.data)
  const covers = (from: RecordDefinition, to: RecordDefinition) =>
    from.fields.every((field) => {
      const other = to.fields.find(({ name }) => name === field.name)
      return other === undefined ? Object.hasOwn(field, "default") : canonical(other.type) === canonical(field.type)
    })
  return covers(a, b) && covers(b, a)
}

export class SchemaRegistry {
  readonly #versions: Array<StoredSchema> = []
  readonly #maxVersions: number

  constructor(maxVersions: number) {
    this.#maxVersions = maxVersions
  }

  get size(): number {
    return this.#versions.length
  }

  get latest(): number | undefined {
    return this.#versions.length === 0 ? undefined : this.#versions.length - 1
  }

  get(version: number): StoredSchema | undefined {
    return this.#versions[version]
  }

  /** Version of an equal schema, else of this one once admitted. */
  admit(schema: StoredSchema, compatibility: SchemaCompatibility): number | Failure {
    const known = this.#versions.findIndex((other) => other.type === schema.type && sameBytes(other.data, schema.data))
    if (known >= 0) return known
    const previous = this.#versions.at(-1)
    const admitted = previous === undefined || compatibility === "ALWAYS_COMPATIBLE" ||
      (compatibility === "FULL" && isFullyCompatible(previous, schema))
    if (!admitted) return fail("IncompatibleSchema", "the schema is not compatible with the topic's")
    if (this.#versions.length >= this.#maxVersions) {
      return fail("IncompatibleSchema", `a topic holds at most ${this.#maxVersions} schema versions`)
    }
    this.#versions.push(schema)
    return this.#versions.length - 1
  }

  /** Whether a consumer with this schema can read the topic. */
  accepts(schema: StoredSchema, compatibility: SchemaCompatibility): boolean {
    const latest = this.#versions.at(-1)
    return latest === undefined || compatibility !== "FULL" || isFullyCompatible(latest, schema)
  }
}

/** Version bytes of the wire: a big-endian 64-bit number. */
export const versionBytes = (version: number): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(version))
  return bytes
}

export const versionOf = (bytes: Uint8Array): number | undefined =>
  bytes.length === 8 ? Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0)) : undefined
