/** What a schema may want to know of the message whose payload it reads. */
import type * as Effect from "effect/Effect"
import type { ReceivedMessage } from "@perigee/proto"
import type { Internals } from "../PulsarClient.ts"
import type { Definition, Origin, SchemaFailure } from "../schemas/Definition.ts"

export class MessageOrigin implements Origin {
  readonly #internals: Internals
  readonly #topic: string
  readonly #message: ReceivedMessage

  constructor(internals: Internals, topic: string, message: ReceivedMessage) {
    this.#internals = internals
    this.#topic = topic
    this.#message = message
  }

  get keyBytes(): Uint8Array | undefined {
    const { key, keyIsBase64 } = this.#message
    return key === undefined ? undefined : Uint8Array.from(Buffer.from(key, keyIsBase64 ? "base64" : "utf8"))
  }

  get schemaVersion(): Uint8Array | undefined {
    return this.#message.schemaVersion
  }

  readonly definitionOf = (version: Uint8Array): Effect.Effect<Definition | undefined, SchemaFailure> =>
    this.#internals.schemas.definitionOf(this.#topic, version)
}
