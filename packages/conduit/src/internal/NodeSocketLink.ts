import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Net from "node:net"
import { type PayloadSink, StreamDecoder } from "../core/StreamDecoder.ts"
import type { Link, LinkSink } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import type { LinkError } from "../LinkError.ts"
import { timers } from "./Timers.ts"

/** Longest payload of a stream link unless the options say otherwise. */
export const defaultMaxPayload = 16_777_216
/** One read of a socket that was opened with a buffer of our own. */
const readBytes = 262_144
/** Bytes that wait in a socket before `write` says no. */
export const writeHighWater = 1_048_576
/** How long a graceful end may take before the socket is destroyed. */
const lingerMillis = 1000

/** Reads go into one buffer that is used again and again; the callback is set once the link exists. */
export interface ReusedRead {
  readonly buffer: Uint8Array
  callback: (bytesRead: number, buffer: Uint8Array) => boolean
}

export const reusedRead = (): ReusedRead => ({ buffer: new Uint8Array(readBytes), callback: () => true })

/**
 * A link over a connected stream socket: payloads behind u32 little-endian lengths. Runs go to the socket as they are.
 */
export class NodeSocketLink implements Link {
  readonly description: string
  readonly maxPayload: number
  readonly copies = true
  readonly canPause = true
  private readonly socket: Net.Socket
  private readonly decoder: StreamDecoder
  private readonly after: (millis: number, task: () => void) => () => void
  private readonly reused: ReusedRead | undefined
  private sink: LinkSink | undefined
  private readonly toSink: PayloadSink = {
    payload: (bytes, offset, length, owned) => {
      if (this.dead || this.discarding) return false
      return this.sink!.payload(bytes, offset, length, owned)
    }
  }
  private dead = false
  private discarding = false
  private sourceEnded = false
  private cancelLinger: (() => void) | undefined
  private readonly onGone: Array<() => void> = []

  constructor(
    socket: Net.Socket,
    options: {
      readonly description: string
      readonly maxPayload?: number | undefined
      readonly reused?: ReusedRead | undefined
      readonly after: (millis: number, task: () => void) => () => void
    }
  ) {
    this.socket = socket
    this.description = options.description
    this.maxPayload = options.maxPayload ?? defaultMaxPayload
    this.after = options.after
    this.reused = options.reused
    this.decoder = new StreamDecoder(this.maxPayload)
    socket.pause()
    socket.on("error", (cause) => this.fail({ _tag: "Io", cause }))
    socket.on("end", () => {
      this.sourceEnded = true
      this.finished()
    })
    socket.on("close", () => {
      this.cancelLinger?.()
      this.finished()
      for (const done of this.onGone.splice(0)) done()
    })
    socket.on("drain", () => {
      if (!this.dead) this.sink?.writable()
    })
  }

  open(sink: LinkSink): void {
    const first = this.sink === undefined
    this.sink = sink
    if (!first) return
    if (this.reused === undefined) {
      this.socket.on("data", (chunk: Uint8Array) => this.read(chunk, chunk.length, true))
    } else {
      this.reused.callback = (bytesRead, buffer) => {
        this.read(buffer, bytesRead, false)
        return true
      }
    }
    this.socket.resume()
  }

  write(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): boolean {
    if (this.dead || this.discarding) return true
    return this.socket.write(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end))
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  end(): void {
    if (this.dead || this.discarding) return
    // Unread input would make the kernel answer with a reset, which can overtake what was just written.
    this.discarding = true
    this.socket.end()
    this.socket.resume()
    this.cancelLinger = this.after(lingerMillis, () => this.destroy())
    if (this.sourceEnded) this.socket.destroySoon()
  }

  destroy(): void {
    this.dead = true
    this.cancelLinger?.()
    this.socket.destroy()
  }

  /** Waits for a graceful end that is under way, otherwise destroys. */
  get release(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (!this.discarding || this.socket.destroyed) {
        this.destroy()
        return resume(Effect.void)
      }
      this.onGone.push(() => resume(Effect.void))
    })
  }

  private read(bytes: Uint8Array, length: number, owned: boolean): void {
    if (this.dead || this.discarding) return
    const fault = this.decoder.push(bytes, 0, length, owned, this.toSink)
    if (fault !== undefined) return this.fail({ _tag: "PayloadTooLarge", limit: this.maxPayload })
    if (!this.dead && !this.discarding) this.sink!.flush()
  }

  private finished(): void {
    if (this.decoder.finish() === undefined) this.fail({ _tag: "Ended" })
    else this.fail({ _tag: "PartialPayload" })
  }

  private fail(reason: LinkErrors.LinkErrorReason): void {
    if (this.discarding) {
      if (this.sourceEnded) this.socket.destroySoon()
      return
    }
    if (this.dead) return
    this.destroy()
    this.sink?.closed(LinkErrors.make(this.description, reason))
  }
}

/** Connects a socket as a link of the current scope. */
export const connect = (options: {
  readonly description: string
  readonly maxPayload?: number | undefined
  readonly ready: "connect" | "secureConnect"
  readonly reused: boolean
  readonly open: (reused: ReusedRead | undefined) => Net.Socket
}): Effect.Effect<Link, LinkError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.flatMap(timers, (after) =>
      Effect.callback<NodeSocketLink, LinkError>((resume) => {
        const reused = options.reused ? reusedRead() : undefined
        const failed = (cause: unknown) =>
          resume(Effect.fail(LinkErrors.make(options.description, { _tag: "Open", cause })))
        let socket: Net.Socket
        try {
          socket = options.open(reused)
        } catch (cause) {
          return failed(cause)
        }
        socket.once("error", failed)
        socket.once(options.ready, () => {
          socket.off("error", failed)
          resume(Effect.succeed(
            new NodeSocketLink(socket, {
              description: options.description,
              maxPayload: options.maxPayload,
              reused,
              after
            })
          ))
        })
        return Effect.sync(() => {
          socket.on("error", () => {})
          socket.destroy()
        })
      })),
    (link) => link.release,
    { interruptible: true }
  )
