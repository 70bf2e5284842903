/**
 * The bearer token.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { createHash, timingSafeEqual } from "node:crypto"
import { State } from "../State.ts"
import { Authenticated } from "./Api.ts"
import * as Problem from "./Problem.ts"

// Digests have one length, so the comparison tells nothing about the token's.
const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

export const layer = Layer.effect(
  Authenticated,
  Effect.map(State, ({ token }) => {
    const expected = digest(Redacted.value(token))
    return Authenticated.of({
      token: (app, { credential }) =>
        timingSafeEqual(digest(Redacted.value(credential)), expected)
          ? app
          : Effect.fail(
            new Problem.Unauthorized({
              code: "E_TOKEN",
              detail:
                "The bearer token is missing or wrong. Send `Authorization: Bearer TOKEN`; the token is in the state directory's file `token`."
            })
          )
    })
  })
)
