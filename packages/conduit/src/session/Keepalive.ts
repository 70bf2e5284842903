/**
 * Keepalive of a vox session over a conduit: Ping and Pong messages on connection 0. It is for peers that do not know the
 * control payloads; with a peer of this package the conduit keeps its link alive by itself.
 *
 * The answers are ordinary items, so they also carry acknowledgements, which one-way traffic otherwise lacks.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConduitError } from "../ConduitError.ts"
import type { StableConduit } from "../StableConduit.ts"
import * as Message from "./Message.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface KeepaliveOptions {
  /** Time between pings: 10 s unless given. */
  readonly interval?: Duration.Input | undefined
  /** How long a pong may take before the link is replaced: 10 s unless given. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Pings while the scope is open. A missing pong costs the link, not the conduit.
 *
 * @returns the items of the conduit without the keepalive's own; use it instead of `conduit.receive`
 * @since 0.1.0
 */
export const run = Effect.fnUntraced(function*(
  conduit: StableConduit,
  options: KeepaliveOptions = {}
): Effect.fn.Return<Stream.Stream<Uint8Array, ConduitError>, never, Scope.Scope> {
  const interval = Duration.toMillis(options.interval ?? "10 seconds")
  const timeout = Duration.toMillis(options.timeout ?? "10 seconds")
  let nonce = BigInt(0)
  let waitingFor: bigint | undefined
  let askedAt = 0
  const ask = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    if (waitingFor === undefined) {
      nonce++
      waitingFor = nonce
      askedAt = now
      yield* conduit.send(Message.codec.encode(message("Ping", nonce)))
    } else if (now - askedAt >= timeout) {
      // The ping is an item: it is replayed on the next link, so the clock starts again and nothing is asked twice.
      askedAt = now
      yield* conduit.kick
    }
  })
  yield* Effect.forkScoped(
    Effect.ignore(Effect.forever(Effect.andThen(Effect.sleep(Math.min(interval, timeout)), ask)))
  )
  return conduit.receive.pipe(Stream.filterMapEffect((item) => {
    const kind = keepaliveOf(item)
    if (kind === undefined) return Effect.succeed(Result.succeed(item))
    if (kind._tag === "Pong") {
      if (kind.nonce === waitingFor) waitingFor = undefined
      return Effect.succeed(Result.failVoid)
    }
    return Effect.as(conduit.send(Message.codec.encode(message("Pong", kind.nonce))), Result.failVoid)
  }))
})

const message = (_tag: "Ping" | "Pong", nonce: bigint): Message.Message => ({
  connection: BigInt(0),
  payload: { _tag, value: { nonce } }
})

/** Whether an item is a Ping or a Pong; anything else is left to whoever knows it. */
const keepaliveOf = (item: Uint8Array): { readonly _tag: "Ping" | "Pong"; readonly nonce: bigint } | undefined => {
  // Connection 0, variant 8 or 9, a varint: nothing else is this short and starts like this.
  if (item.length < 3 || item.length > 12 || item[0] !== 0 || (item[1] !== 8 && item[1] !== 9)) return undefined
  try {
    const { payload } = Message.codec.decode(item)
    return payload._tag === "Ping" || payload._tag === "Pong"
      ? { _tag: payload._tag, nonce: payload.value.nonce }
      : undefined
  } catch {
    return undefined
  }
}
