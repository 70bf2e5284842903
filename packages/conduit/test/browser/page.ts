/** What runs in the browser: a feed that echoes, over a WebSocket that dies all the time. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { MessagePortLink, StableConduit, WebSocketLink } from "../../src/index.ts"

interface Outcome {
  readonly received: ReadonlyArray<number>
  readonly links: number
  readonly gaps: number
}

/** Receives `count` numbered items, sends each back, and tells how it went. */
const feed = (url: string, count: number): Promise<Outcome> =>
  Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const conduit = yield* StableConduit.dial(WebSocketLink.source({ url }))
    const received: Array<number> = []
    yield* conduit.receive.pipe(
      Stream.take(count),
      Stream.runForEach((item) => {
        received.push(new DataView(item.buffer, item.byteOffset).getUint32(0))
        return conduit.send(item)
      })
    )
    const { gaps, links } = yield* conduit.metrics
    yield* conduit.close({ drain: "10 seconds" })
    return { received, links, gaps }
  })))

/** A conduit between two ends of a message channel in the page. */
const channel = (): Promise<number> =>
  Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const { port1, port2 } = new (globalThis as any).MessageChannel()
    const [near, far] = [yield* MessagePortLink.make(port1), yield* MessagePortLink.make(port2)]
    let bytes = 0
    far.open({
      payload: (_, __, length) => {
        bytes += length
      },
      flush: () => {},
      writable: () => {},
      closed: () => {}
    })
    near.write(Uint8Array.of(3, 0, 0, 0, 1, 2, 3), 0, 7)
    yield* Effect.sleep(50)
    return bytes
  })))

Object.assign(globalThis, { conduitTest: { feed, channel } })
