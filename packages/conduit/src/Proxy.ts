/**
 * Forwarding without decoding: from conduit to conduit, or from link to link.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ConduitError } from "./ConduitError.ts"
import type { Link, LinkSink } from "./Link.ts"
import type { StableConduit } from "./StableConduit.ts"

/**
 * Forwards every item in both directions until either conduit ends, then closes the other. Each side keeps its own
 * numbers and survives its own links.
 *
 * An item is acknowledged to its sender when the far peer has confirmed it, so that a proxy which dies loses nothing
 * that its peers were told was delivered. With `confirm: false` it is acknowledged as soon as the proxy has accepted it,
 * which is faster.
 *
 * @category combinators
 * @since 0.1.0
 */
export const conduits = (
  left: StableConduit,
  right: StableConduit,
  options: { readonly confirm?: boolean | undefined } = {}
): Effect.Effect<void, ConduitError> => {
  const forward = (from: StableConduit, to: StableConduit) =>
    from.consume((batch) => {
      const items = batch.toArray()
      return options.confirm === false ? to.sendAll(items) : to.sendAllConfirmed(items)
    }).pipe(Effect.andThen(to.close({ drain: "5 seconds" })))
  return Effect.raceFirst(forward(left, right), forward(right, left)).pipe(
    Effect.catchIf(
      ({ reason }) => reason._tag === "Closed" || reason._tag === "PeerClosed",
      () => Effect.void
    ),
    Effect.ensuring(Effect.andThen(Effect.ignore(left.close()), Effect.ignore(right.close())))
  )
}

/**
 * Forwards payloads between two links as they are, hellos included, with backpressure. Waits until either link ends; the
 * other one is then ended too.
 *
 * @category combinators
 * @since 0.1.0
 */
export const links = (left: Link, right: Link): Effect.Effect<void, never, Scope.Scope> =>
  Effect.callback<void>((resume) => {
    const sink = (from: Link, to: Link): LinkSink => ({
      payload: (bytes, offset, length) => {
        const framed = new Uint8Array(length + 4)
        new DataView(framed.buffer).setUint32(0, length, true)
        framed.set(bytes.subarray(offset, offset + length), 4)
        if (!to.write(framed, 0, framed.length) && from.canPause) from.pause()
      },
      flush: () => {},
      writable: () => to.resume(),
      closed: () => {
        to.end()
        resume(Effect.void)
      }
    })
    left.open(sink(left, right))
    right.open(sink(right, left))
  })
