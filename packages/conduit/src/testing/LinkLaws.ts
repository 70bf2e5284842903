/**
 * What every link must do, as checks that any test runner can call on a link of one's own.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type Link, type LinkError, writePayload } from "../Link.ts"

/**
 * One law. It fails with a text that says what was broken.
 *
 * @category models
 * @since 0.1.0
 */
export interface LinkLaw {
  readonly name: string
  readonly check: <E, R>(pair: Effect.Effect<readonly [Link, Link], E, R>) => Effect.Effect<void, E | string, R>
}

interface Tap {
  readonly payloads: Array<Uint8Array>
  closed: LinkError | undefined
  writable: number
  wake: () => void
}

const tap = (link: Link): Tap => {
  const state: Tap = { payloads: [], closed: undefined, writable: 0, wake: () => {} }
  link.open({
    payload: (bytes, offset, length) => {
      state.payloads.push(bytes.slice(offset, offset + length))
      state.wake()
    },
    flush: () => {},
    writable: () => {
      state.writable++
      state.wake()
    },
    closed: (error) => {
      state.closed = error
      state.wake()
    }
  })
  return state
}

const until = (state: Tap, what: string, done: () => boolean): Effect.Effect<void, string> =>
  Effect.callback<void>((resume) => {
    const look = () => {
      if (done()) resume(Effect.void)
    }
    state.wake = look
    look()
  }).pipe(Effect.timeoutOrElse({ duration: "5 seconds", orElse: () => Effect.fail(`never happened: ${what}`) }))

const ensure = (holds: boolean, what: string): Effect.Effect<void, string> =>
  holds ? Effect.void : Effect.fail(`broken: ${what}`)

const same = (a: Uint8Array | undefined, b: Uint8Array): boolean =>
  a !== undefined && a.length === b.length && a.every((byte, index) => byte === b[index])

const numbered = (count: number, size: (index: number) => number): Array<Uint8Array> =>
  Array.from({ length: count }, (_, index) => new Uint8Array(size(index)).fill(index & 0xff))

/**
 * The laws. `Scope` and clock are those of the caller; run them on the live clock when the transport is real.
 *
 * @since 0.1.0
 */
export const laws: ReadonlyArray<LinkLaw> = [
  {
    name: "payloads arrive whole and in order, in both directions, empty ones included",
    check: (pair) =>
      Effect.gen(function*() {
        const [left, right] = yield* pair
        const [atLeft, atRight] = [tap(left), tap(right)]
        const items = numbered(200, (index) => index % 7 === 0 ? 0 : (index * 37) % 4097)
        for (const item of items) {
          writePayload(left, item)
          writePayload(right, item)
        }
        yield* until(atRight, "all payloads at the right", () => atRight.payloads.length === items.length)
        yield* until(atLeft, "all payloads at the left", () => atLeft.payloads.length === items.length)
        yield* ensure(items.every((item, index) => same(atRight.payloads[index], item)), "order or content, rightwards")
        yield* ensure(items.every((item, index) => same(atLeft.payloads[index], item)), "order or content, leftwards")
      })
  },
  {
    name: "a large payload arrives whole",
    check: (pair) =>
      Effect.gen(function*() {
        const [left, right] = yield* pair
        tap(left)
        const atRight = tap(right)
        const large = Uint8Array.from({ length: 1_000_000 }, (_, index) => (index * 31) & 0xff)
        writePayload(left, large)
        yield* until(atRight, "the payload", () => atRight.payloads.length === 1)
        yield* ensure(same(atRight.payloads[0], large), "content of a large payload")
      })
  },
  {
    name: "a graceful end lets everything before it arrive, and is told once",
    check: (pair) =>
      Effect.gen(function*() {
        const [left, right] = yield* pair
        tap(left)
        const atRight = tap(right)
        const items = numbered(50, () => 1000)
        for (const item of items) writePayload(left, item)
        left.end()
        yield* until(atRight, "the end", () => atRight.closed !== undefined)
        yield* ensure(atRight.closed?.reason._tag === "Ended", "a graceful end is told as Ended")
        yield* ensure(atRight.payloads.length === items.length, "payloads before a graceful end")
      })
  },
  {
    name: "a dropped link is told to the other end, and not to the one that dropped it",
    check: (pair) =>
      Effect.gen(function*() {
        const [left, right] = yield* pair
        const [atLeft, atRight] = [tap(left), tap(right)]
        left.destroy()
        left.destroy()
        yield* until(atRight, "the end", () => atRight.closed !== undefined)
        yield* ensure(atLeft.closed === undefined, "destroy must not call closed")
        writePayload(left, new Uint8Array(3))
        right.write(new Uint8Array(4), 0, 4)
      })
  },
  {
    name: "a writer that is told to stop is told when to go on, and loses nothing",
    check: (pair) =>
      Effect.gen(function*() {
        const [left, right] = yield* pair
        const atLeft = tap(left)
        const atRight = tap(right)
        if (right.canPause) right.pause()
        let sent = 0
        const item = new Uint8Array(65_536)
        let open = true
        while (open && sent < 512) {
          open = writePayload(left, item)
          sent++
        }
        if (right.canPause) right.resume()
        if (!open) yield* until(atLeft, "writable", () => atLeft.writable > 0)
        yield* until(atRight, "all payloads", () => atRight.payloads.length === sent)
      })
  }
]
