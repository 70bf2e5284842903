/**
 * Schemas of topics by version, as the broker has them: each is asked for once.
 */
import * as Effect from "effect/Effect"
import { TopicName } from "@perigee/proto"
import { type PulsarError, refused } from "../PulsarError.ts"
import type { Definition } from "../schemas/Definition.ts"
import * as Lookup from "./Lookup.ts"
import type { Pool } from "./Pool.ts"

const LIMIT = 10_000
const TOPIC_NOT_FOUND = 11

/** A definition, and the version it has on its topic. */
export interface Versioned {
  readonly definition: Definition
  readonly version: Uint8Array
}

/** The schema of a topic, the newest unless a version is given; `undefined` when there is none. */
export const ask = (
  pool: Pool,
  topic: string,
  version: Uint8Array | undefined
): Effect.Effect<Versioned | undefined, PulsarError> =>
  Effect.flatMap(
    Lookup.ask(pool, (connection, now, onDone) => connection.lookups.schema(now, topic, version, onDone)),
    ({ getSchemaResponse: response }) => {
      if (response === undefined) return Effect.succeed(undefined)
      if (Object.hasOwn(response, "errorCode")) {
        return response.errorCode === TOPIC_NOT_FOUND
          ? Effect.succeed(undefined)
          : Effect.fail(refused({ code: response.errorCode, message: response.errorMessage }))
      }
      const { schema } = response
      return Effect.succeed(
        schema === undefined ? undefined : {
          version: response.schemaVersion,
          definition: {
            name: schema.name,
            type: schema.type,
            data: schema.schemaData,
            properties: Object.fromEntries(schema.properties.map(({ key, value }) => [key, value]))
          }
        }
      )
    }
  )

export class SchemaCache {
  readonly #pool: Pool
  readonly #known = new Map<string, Definition | undefined>()

  constructor(pool: Pool) {
    this.#pool = pool
  }

  /** The definition under a version. The same version gives the same object. */
  definitionOf(topic: string, version: Uint8Array): Effect.Effect<Definition | undefined, PulsarError> {
    return Effect.suspend(() => {
      const base = TopicName.withoutPartition(topic)
      const key = `${base} ${Buffer.from(version).toString("hex")}`
      if (this.#known.has(key)) return Effect.succeed(this.#known.get(key))
      return Effect.map(ask(this.#pool, base, version), (found) => {
        const known = this.#known.get(key)
        if (known !== undefined) return known
        if (this.#known.size >= LIMIT) this.#known.delete(this.#known.keys().next().value!)
        this.#known.set(key, found?.definition)
        return found?.definition
      })
    })
  }
}
