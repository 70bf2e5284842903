/**
 * Links over a message port: between a page and a worker, two workers, or two threads of Node.
 *
 * A port has no backpressure and, in browsers, no end: both are said in messages. A `Uint8Array` is a run of payloads, a
 * number is how many bytes of runs were taken, and null is the end.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as StreamDecoder from "../core/StreamDecoder.ts"
import type { Link, LinkSink } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"

/**
 * The part of a port that browsers and Node share. A worker is one too.
 *
 * @category models
 * @since 0.1.0
 */
export interface PortLike {
  postMessage(message: unknown, transfer?: Array<ArrayBuffer>): void
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void
  removeEventListener?(type: "message", listener: (event: { readonly data: unknown }) => void): void
  start?(): void
  close?(): void
}

/** Bytes on the way over which `write` says no. */
const highWater = 1_048_576

/**
 * Makes a link of one end of a port. Closing the scope drops it. The bytes are copied once, and moved.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  port: PortLike,
  options: { readonly description?: string | undefined; readonly maxPayload?: number | undefined } = {}
): Effect.Effect<Link, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new PortLink(port, options.description ?? "port", options.maxPayload ?? 16_777_216)),
    (link) => Effect.sync(() => link.destroy())
  )

class PortLink implements Link {
  readonly description: string
  readonly maxPayload: number
  readonly copies = true
  readonly canPause = true
  private readonly port: PortLike
  private sink: LinkSink | undefined
  private queue: Array<Uint8Array | null> = []
  private onTheWay = 0
  private full = false
  private paused = false
  private draining = false
  private ending = false
  private dead = false
  private readonly listener = ({ data }: { readonly data: unknown }) => this.message(data)

  constructor(port: PortLike, description: string, maxPayload: number) {
    this.port = port
    this.description = description
    this.maxPayload = maxPayload
    port.addEventListener("message", this.listener)
    port.start?.()
  }

  open(sink: LinkSink): void {
    const first = this.sink === undefined
    this.sink = sink
    // Never from inside `open`: what waits is delivered with the next message, or now if there is one already.
    if (first && this.queue.length > 0) queueMicrotask(() => this.drain())
  }

  write(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): boolean {
    if (this.dead || this.ending) return true
    const run = bytes.slice(start, end)
    this.onTheWay += run.length
    this.port.postMessage(run, [run.buffer])
    this.full = this.onTheWay >= highWater
    return !this.full
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    if (!this.draining) this.drain()
  }

  end(): void {
    if (this.dead || this.ending) return
    this.ending = true
    this.port.postMessage(null, [])
  }

  destroy(): void {
    if (this.dead) return
    this.dead = true
    this.queue = []
    if (!this.ending) this.port.postMessage(null, [])
    this.port.removeEventListener?.("message", this.listener)
    this.port.close?.()
  }

  private message(data: unknown): void {
    if (this.dead) return
    if (typeof data === "number") {
      this.onTheWay -= data
      if (this.full && this.onTheWay < highWater / 2) {
        this.full = false
        this.sink?.writable()
      }
    } else if (data === null || data instanceof Uint8Array) {
      this.queue.push(data)
      if (!this.draining) this.drain()
    } else {
      this.fail({ _tag: "Protocol", detail: "a message that is neither bytes, a number nor null" })
    }
  }

  private drain(): void {
    if (this.sink === undefined || this.dead) return
    this.draining = true
    let delivered = false
    while (this.queue.length > 0 && !this.paused && !this.dead) {
      const run = this.queue.shift()!
      if (run === null) {
        if (delivered) this.sink.flush()
        this.draining = false
        return this.fail({ _tag: "Ended" })
      }
      const decoder = new StreamDecoder.StreamDecoder(this.maxPayload)
      const fault = decoder.push(run, 0, run.length, true, {
        payload: (bytes, offset, length, owned) => {
          delivered = true
          return this.dead ? false : this.sink!.payload(bytes, offset, length, owned)
        }
      }) ?? decoder.finish()
      if (fault !== undefined) {
        this.draining = false
        return this.fail(
          fault === "PayloadTooLarge" ? { _tag: "PayloadTooLarge", limit: this.maxPayload } : { _tag: "PartialPayload" }
        )
      }
      if (!this.dead) this.port.postMessage(run.length, [])
    }
    if (delivered && !this.dead) this.sink.flush()
    this.draining = false
  }

  private fail(reason: LinkErrors.LinkErrorReason): void {
    if (this.dead) return
    this.destroy()
    this.sink?.closed(LinkErrors.make(this.description, reason))
  }
}
