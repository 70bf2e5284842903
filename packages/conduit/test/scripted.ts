import { Effect, Queue } from "effect"
import { Hello, Link, LinkSource, MemoryLink } from "../src/index.ts"
import { hex, unhex } from "./support.ts"

/** The other end of a memory link, played by hand. */
export interface ScriptedPeer {
  /** The next payload from the conduit, as hex; waits for it. */
  readonly next: Effect.Effect<string>
  /** Payloads that are there now. */
  readonly pending: Effect.Effect<Array<string>>
  readonly send: (hex: string) => Effect.Effect<void>
  readonly cut: Effect.Effect<void>
  /** Waits until the conduit has ended the link. */
  readonly closed: Effect.Effect<string>
}

export const scripted = (link: Link.Link): Effect.Effect<ScriptedPeer> =>
  Effect.gen(function*() {
    const payloads = yield* Queue.unbounded<string>()
    const closed = yield* Queue.unbounded<string>()
    link.open({
      payload: (bytes, offset, length) => {
        Queue.offerUnsafe(payloads, hex(bytes.subarray(offset, offset + length)))
      },
      flush: () => {},
      writable: () => {},
      closed: (error) => {
        Queue.offerUnsafe(closed, error.reason._tag)
      }
    })
    return {
      next: Queue.take(payloads),
      pending: Effect.map(Effect.yieldNow, () => Queue.clear(payloads)).pipe(Effect.flatten),
      send: (payload) => Effect.sync(() => void Link.writePayload(link, unhex(payload))),
      cut: Effect.sync(() => link.destroy()),
      closed: Queue.take(closed)
    }
  })

/** A source whose every link has a hand-played acceptor at the other end; `accepts` yields them in turn. */
export const scriptedAcceptor = Effect.gen(function*() {
  const peers = yield* Queue.unbounded<ScriptedPeer>()
  let dials = 0
  let open = true
  const source = LinkSource.make(
    "scripted",
    Effect.gen(function*() {
      dials++
      if (!open) return yield* LinkSource.exhausted.next.pipe(Effect.map(({ link }) => link))
      const [near, far] = yield* MemoryLink.pair()
      yield* Queue.offer(peers, yield* scripted(far))
      yield* Effect.addFinalizer(() => Effect.sync(() => near.destroy()))
      return near
    })
  )
  return {
    source,
    accept: Queue.take(peers),
    dials: Effect.sync(() => dials),
    /** Every later dial fails with `Exhausted`. */
    exhaust: Effect.sync(() => {
      open = false
    })
  }
})

export const H1 = "564f4348000000000000000000000000000000000000000000"
export const rejection = "564f5348010000000000000000000000000000000000000000"
export const key = (n: number): string => n.toString(16).padStart(2, "0").repeat(16)
export const clientHello = (keyHex: string | undefined, lastReceived?: number): string =>
  hex(Hello.encodeClient({
    key: keyHex === undefined ? undefined : unhex(keyHex),
    lastReceived,
    extensions: false
  }))
export const serverHello = (keyHex: string, lastReceived?: number): string =>
  hex(Hello.encodeServer({ rejected: false, key: unhex(keyHex), lastReceived, extensions: false }))
