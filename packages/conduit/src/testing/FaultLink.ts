/**
 * Links that fail on purpose, around any source: for tests of programs built on conduits.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Hello from "../core/Hello.ts"
import * as StreamDecoder from "../core/StreamDecoder.ts"
import { timers } from "../internal/Timers.ts"
import { type Link, type LinkSink, writePayload } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import type { LinkSource } from "../LinkSource.ts"

/**
 * When a link is cut, counted in bytes of its stream form (prefixes included) in one direction. The payload that holds
 * the byte does not arrive.
 *
 * @category models
 * @since 0.1.0
 */
export interface CutPlan {
  readonly sent?: number | undefined
  readonly received?: number | undefined
}

/**
 * The handle of a faulty source.
 *
 * @category models
 * @since 0.1.0
 */
export interface FaultLink {
  /** Use this in place of the source that was wrapped. */
  readonly source: LinkSource
  /** Cuts the current link now; both ends see it. */
  readonly cut: Effect.Effect<void>
  /** Plans the cut of the next link; called once a link, with its number from 0. */
  readonly plan: (plan: (link: number) => CutPlan) => Effect.Effect<void>
  /** Stops delivery in both directions without closing anything, or goes on. */
  readonly stall: (stalled: boolean) => Effect.Effect<void>
  /**
   * Makes the current link half-open: this end goes on writing into nothing and hears nothing, while the other end is
   * not told. Only a takeover or a keepalive gets out of it.
   */
  readonly halfOpen: Effect.Effect<void>
  /** Delays every payload by this much, in both directions. */
  readonly delay: (millis: number) => Effect.Effect<void>
  /**
   * Makes the next dials arrive twice, as a proxy that retries or a connection race does: a second link opens to the
   * acceptor and says what the first one says up to and with its hello, so much later; after that it is silent.
   */
  readonly duplicate: (dials: number, afterMillis?: number) => Effect.Effect<void>
  /** Refuses the next dials. */
  readonly refuse: (dials: number) => Effect.Effect<void>
  /** Links handed out so far. */
  readonly links: Effect.Effect<number>
}

/**
 * Wraps a source.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (source: LinkSource): Effect.Effect<FaultLink> =>
  Effect.map(timers, (after) => {
    let current: FaultyLink | undefined
    let plan: (link: number) => CutPlan = () => ({})
    let links = 0
    let refusals = 0
    let duplicates = 0
    let duplicateAfter = 0
    let delay = 0
    let stalled = false
    return {
      source: {
        description: source.description,
        next: Effect.suspend(() => {
          if (refusals > 0) {
            refusals--
            return Effect.fail(
              LinkErrors.make(source.description, { _tag: "Open", cause: new Error("refused on purpose") })
            )
          }
          const twice = duplicates > 0
          if (twice) duplicates--
          return Effect.gen(function*() {
            const attachment = yield* source.next
            const twin = twice ? (yield* source.next).link : undefined
            const link = new FaultyLink(attachment.link, plan(links++), after)
            if (twin !== undefined) link.mirror = mirrorOpening(twin, duplicateAfter, after)
            link.delayMillis = delay
            link.stall(stalled)
            current = link
            return { ...attachment, link }
          })
        })
      },
      cut: Effect.sync(() => current?.cut()),
      plan: (next) =>
        Effect.sync(() => {
          plan = next
        }),
      stall: (on) =>
        Effect.sync(() => {
          stalled = on
          current?.stall(on)
        }),
      halfOpen: Effect.sync(() => current?.deafen()),
      delay: (millis) =>
        Effect.sync(() => {
          delay = millis
          if (current !== undefined) current.delayMillis = millis
        }),
      duplicate: (dials, afterMillis = 0) =>
        Effect.sync(() => {
          duplicates = dials
          duplicateAfter = afterMillis
        }),
      refuse: (dials) =>
        Effect.sync(() => {
          refusals = dials
        }),
      links: Effect.sync(() => links)
    }
  })

type After = (millis: number, task: () => void) => () => void
/** Takes a copy of what a link writes; says whether it wants more. */
type Mirror = (bytes: Uint8Array, start: number, end: number) => boolean

/** Repeats an opening on a second link, and hears nothing of the answers. */
const mirrorOpening = (twin: Link, afterMillis: number, after: After): Mirror => {
  const ignore = () => {}
  twin.open({ payload: ignore, flush: ignore, writable: ignore, closed: ignore })
  return (bytes, start, end) => {
    for (const payload of StreamDecoder.payloads(bytes, start, end)) {
      const copy = payload.slice()
      if (afterMillis === 0) writePayload(twin, copy)
      else after(afterMillis, () => void writePayload(twin, copy))
      if (Hello.looksLikeClientHello(copy)) return false
    }
    return true
  }
}

class FaultyLink implements Link {
  delayMillis = 0
  mirror: Mirror | undefined
  private readonly inner: Link
  private readonly plan: CutPlan
  private readonly after: After
  private sink: LinkSink | undefined
  private sent = 0
  private received = 0
  private stalled = false
  private deaf = false
  private dead = false
  private held: Array<() => void> = []

  constructor(inner: Link, plan: CutPlan, after: After) {
    this.inner = inner
    this.plan = plan
    this.after = after
  }

  get description(): string {
    return this.inner.description
  }

  get maxPayload(): number {
    return this.inner.maxPayload
  }

  /** Delayed payloads are kept as they are. */
  readonly copies = false

  get canPause(): boolean {
    return this.inner.canPause
  }

  open(sink: LinkSink): void {
    this.sink = sink
    this.inner.open({
      payload: (bytes, offset, length, owned) => {
        if (this.dead || this.deaf) return
        this.received += length + 4
        if (this.plan.received !== undefined && this.received > this.plan.received) {
          this.cut()
          return false
        }
        if (!this.stalled && this.delayMillis === 0 && this.held.length === 0) {
          return this.sink!.payload(bytes, offset, length, owned)
        }
        const copy = bytes.slice(offset, offset + length)
        return this.later(() => this.sink!.payload(copy, 0, copy.length, true))
      },
      flush: () => {
        if (!this.deaf) this.later(() => this.sink!.flush())
      },
      writable: () => {
        if (!this.deaf) this.later(() => this.sink!.writable())
      },
      closed: (error) => {
        if (this.deaf) return
        this.later(() => {
          this.dead = true
          this.sink!.closed(error)
        })
      }
    })
  }

  write(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): boolean {
    if (this.dead || this.deaf) return true
    const { mirror, plan: { sent } } = this
    if (sent !== undefined && this.sent + end - start > sent) {
      // Whole payloads before the byte still go out.
      let upTo = start
      for (const payload of StreamDecoder.payloads(bytes, start, end)) {
        if (this.sent + upTo - start + payload.length + 4 > sent) break
        upTo += payload.length + 4
      }
      if (upTo > start) this.inner.write(bytes, start, upTo)
      this.after(0, () => this.cut())
      this.deaf = true
      return true
    }
    this.sent += end - start
    const direct = !this.stalled && this.delayMillis === 0 && this.held.length === 0
    const wantsMore = direct && this.inner.write(bytes, start, end)
    if (!direct) this.later(() => this.inner.write(bytes, start, end))
    if (mirror !== undefined && !mirror(bytes, start, end)) this.mirror = undefined
    return wantsMore || !direct
  }

  pause(): void {
    this.inner.pause()
  }

  resume(): void {
    this.inner.resume()
  }

  end(): void {
    this.later(() => this.inner.end())
  }

  destroy(): void {
    this.dead = true
    this.held = []
    // A half-open link is one whose other end is not told.
    if (!this.deaf) this.inner.destroy()
  }

  cut(): void {
    if (this.dead) return
    this.dead = true
    this.inner.destroy()
    this.sink?.closed(LinkErrors.make(this.description, { _tag: "Io", cause: new Error("cut on purpose") }))
  }

  deafen(): void {
    this.deaf = true
  }

  stall(on: boolean): void {
    this.stalled = on
    if (on) return
    for (const task of this.held.splice(0)) task()
  }

  private later(task: () => void): void {
    const run = () => {
      if (!this.dead) task()
    }
    if (this.delayMillis > 0) this.after(this.delayMillis, () => this.stalled ? void this.held.push(run) : run())
    else if (this.stalled) this.held.push(run)
    else run()
  }
}
