import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import * as StreamDecoder from "../core/StreamDecoder.ts"
import type { Link, LinkSink } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import { timers } from "./Timers.ts"

/** The part of a WebSocket that browsers, Node and the `ws` package share. */
export interface WebSocketLike {
  binaryType: string
  readonly bufferedAmount: number
  readonly readyState: number
  send(data: Uint8Array<ArrayBuffer>): void
  close(code?: number, reason?: string): void
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void
  addEventListener(type: "open" | "close" | "error", listener: (event: unknown) => void): void
  /** Only in `ws`. */
  pause?(): void
  resume?(): void
  terminate?(): void
  /** Where there is a way around events: tells each binary message, whose bytes are part of a larger read, or undefined for a text. */
  receive?(listener: (payload: Uint8Array | undefined) => void): void
  /** Where there is a way to it: sends between the two go out as one write. */
  cork?(): void
  uncork?(): void
}

const open = 1
/** Buffered bytes over which `write` says no, and how often a full socket is looked at again: there is no event. */
const highWater = 1_048_576
const pollMillis = 5
/** How long the closing handshake may take. */
const lingerMillis = 1000

export interface Services {
  readonly schedule: (task: () => void) => void
  readonly after: (millis: number, task: () => void) => () => void
}

/** What a WebSocket link needs from the runtime. */
export const services: Effect.Effect<Services> = Effect.gen(function*() {
  const scheduler = yield* Scheduler.Scheduler
  const dispatcher = scheduler.makeDispatcher()
  return { schedule: (task) => dispatcher.scheduleTask(task, 0), after: yield* timers }
})

/** A link over an open WebSocket: one binary message is one payload. */
export class WebSocketCore implements Link {
  readonly description: string
  readonly maxPayload: number
  readonly copies = true
  readonly canPause: boolean
  private readonly socket: WebSocketLike
  private readonly services: Services
  private sink: LinkSink | undefined
  /** Messages that came before anyone listened; a server sends nothing before a hello, so there are few. */
  private early: Array<Uint8Array> = []
  private flushing = false
  private polling = false
  private dead = false
  private ending = false
  private gone = false
  private readonly onGone: Array<() => void> = []

  constructor(socket: WebSocketLike, description: string, maxPayload: number, services: Services) {
    this.socket = socket
    this.description = description
    this.maxPayload = maxPayload
    this.services = services
    this.canPause = socket.pause !== undefined
    if (socket.receive === undefined) {
      socket.binaryType = "arraybuffer"
      socket.addEventListener("message", ({ data }) => {
        if (data instanceof ArrayBuffer) this.message(new Uint8Array(data), true)
        else this.fail({ _tag: "TextMessage" })
      })
    } else {
      socket.receive((payload) => {
        if (payload === undefined) this.fail({ _tag: "TextMessage" })
        else this.message(payload, false)
      })
    }
    socket.addEventListener("close", () => {
      this.gone = true
      this.fail({ _tag: "Ended" })
      for (const done of this.onGone.splice(0)) done()
    })
    // A close always follows an error, and a browser tells nothing about it.
    socket.addEventListener("error", () => {})
  }

  open(sink: LinkSink): void {
    const first = this.sink === undefined
    this.sink = sink
    if (!first || this.early.length === 0) return
    this.services.schedule(() => {
      for (const payload of this.early.splice(0)) this.message(payload, false)
    })
  }

  write(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): boolean {
    if (this.dead || this.ending || this.socket.readyState !== open) return true
    this.socket.cork?.()
    for (const payload of StreamDecoder.payloads(bytes, start, end)) {
      this.socket.send(payload as Uint8Array<ArrayBuffer>)
    }
    this.socket.uncork?.()
    if (this.socket.bufferedAmount < highWater) return true
    this.poll()
    return false
  }

  pause(): void {
    this.socket.pause?.()
  }

  resume(): void {
    this.socket.resume?.()
  }

  end(): void {
    if (this.dead || this.ending) return
    this.ending = true
    this.resume()
    this.socket.close(1000)
    this.services.after(lingerMillis, () => this.destroy())
  }

  destroy(): void {
    if (this.dead) return
    this.dead = true
    this.early = []
    if (this.gone) return
    if (this.socket.terminate !== undefined) this.socket.terminate()
    else this.socket.close(4000, "dropped")
    for (const done of this.onGone.splice(0)) done()
  }

  /** Waits for a graceful end that is under way, otherwise destroys. */
  get release(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (this.ending && !this.gone && !this.dead) this.onGone.push(() => resume(Effect.void))
      else {
        this.destroy()
        resume(Effect.void)
      }
    })
  }

  private message(payload: Uint8Array, owned: boolean): void {
    if (this.dead || this.ending) return
    if (this.sink === undefined) {
      this.early.push(payload)
      return
    }
    if (payload.length > this.maxPayload) return this.fail({ _tag: "PayloadTooLarge", limit: this.maxPayload })
    this.sink.payload(payload, 0, payload.length, owned)
    if (this.flushing) return
    this.flushing = true
    // Messages that came in one read are told in one turn: right after it, all of them have been.
    queueMicrotask(() => {
      if (!this.flushing) return
      this.flushing = false
      if (!this.dead) this.sink?.flush()
    })
  }

  private poll(): void {
    if (this.polling) return
    this.polling = true
    this.services.after(pollMillis, () => {
      this.polling = false
      if (this.dead) return
      if (this.socket.bufferedAmount < highWater / 2) this.sink?.writable()
      else this.poll()
    })
  }

  private fail(reason: LinkErrors.LinkErrorReason): void {
    if (this.dead) return
    if (this.ending) {
      this.dead = true
      return
    }
    // What arrived before the end is delivered before the end is told.
    if (this.flushing) {
      this.flushing = false
      this.sink?.flush()
    }
    this.destroy()
    this.sink?.closed(LinkErrors.make(this.description, reason))
  }
}
