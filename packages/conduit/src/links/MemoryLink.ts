/**
 * Links inside one program: two bounded queues. For tests, and for composing programs that will later be apart.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import * as StreamDecoder from "../core/StreamDecoder.ts"
import type { Link, LinkSink } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import * as LinkSource from "../LinkSource.ts"
import type { Listener } from "../Listener.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface MemoryLinkOptions {
  /** Bytes that wait in one direction before the writer is told to stop: 64 KiB unless given. */
  readonly capacity?: number | undefined
  /** Longest payload in bytes: 16 MiB unless given. */
  readonly maxPayload?: number | undefined
  readonly description?: string | undefined
}

interface Run {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly start: number
  readonly end: number
}

class MemoryEnd implements Link {
  readonly description: string
  readonly maxPayload: number
  readonly copies = false
  readonly canPause = true
  peer: MemoryEnd | undefined
  private readonly capacity: number
  private readonly schedule: (task: () => void) => void
  private sink: LinkSink | undefined
  private inbound: Array<Run> = []
  private inboundBytes = 0
  private scheduled = false
  private paused = false
  private full = false
  private ended = false
  private peerEnded = false
  private dead = false

  constructor(description: string, options: MemoryLinkOptions, schedule: (task: () => void) => void) {
    this.description = description
    this.maxPayload = options.maxPayload ?? 16_777_216
    this.capacity = options.capacity ?? 65_536
    this.schedule = schedule
  }

  open(sink: LinkSink): void {
    this.sink = sink
    this.wake()
  }

  write(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): boolean {
    const peer = this.peer!
    if (this.dead || this.ended || peer.dead || start === end) return true
    for (const payload of StreamDecoder.payloads(bytes, start, end)) {
      if (payload.length > this.maxPayload) {
        this.schedule(() => this.fail({ _tag: "PayloadTooLarge", limit: this.maxPayload }))
        return true
      }
    }
    peer.inbound.push({ bytes, start, end })
    peer.inboundBytes += end - start
    peer.wake()
    this.full = peer.inboundBytes >= peer.capacity
    return !this.full
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    this.wake()
  }

  end(): void {
    if (this.ended || this.dead) return
    this.ended = true
    this.peer!.peerEnded = true
    this.peer!.wake()
  }

  destroy(): void {
    if (this.dead) return
    this.dead = true
    this.inbound = []
    this.inboundBytes = 0
    const peer = this.peer!
    if (peer.dead) return
    // A graceful end lets what was written arrive; dropping the link does not.
    if (!this.ended) {
      peer.inbound = []
      peer.inboundBytes = 0
    }
    peer.peerEnded = true
    peer.wake()
  }

  private fail(reason: LinkErrors.LinkErrorReason): void {
    if (this.dead) return
    this.destroy()
    this.sink?.closed(LinkErrors.make(this.description, reason))
  }

  private wake(): void {
    if (this.scheduled || this.sink === undefined || this.dead) return
    this.scheduled = true
    this.schedule(() => {
      this.scheduled = false
      this.deliver()
    })
  }

  private deliver(): void {
    let delivered = false
    while (this.inbound.length > 0 && !this.paused && !this.dead) {
      const run = this.inbound.shift()!
      this.inboundBytes -= run.end - run.start
      for (const payload of StreamDecoder.payloads(run.bytes, run.start, run.end)) {
        if (this.dead) return
        delivered = true
        if (this.sink!.payload(run.bytes, payload.byteOffset, payload.length, true) === false) return
      }
    }
    if (this.dead) return
    if (delivered) this.sink!.flush()
    const peer = this.peer!
    if (peer.full && !peer.dead && this.inboundBytes < this.capacity / 2) {
      peer.full = false
      this.schedule(() => {
        if (!peer.dead) peer.sink?.writable()
      })
    }
    if (this.inbound.length === 0 && this.peerEnded && !this.dead) this.fail({ _tag: "Ended" })
  }
}

const makePair = (
  options: MemoryLinkOptions,
  schedule: (task: () => void) => void
): readonly [Link, Link] => {
  const name = options.description ?? "memory"
  const left = new MemoryEnd(name, options, schedule)
  const right = new MemoryEnd(name, options, schedule)
  left.peer = right
  right.peer = left
  return [left, right]
}

const scheduling = Effect.map(Scheduler.Scheduler, (scheduler) => {
  const dispatcher = scheduler.makeDispatcher()
  return (task: () => void) => dispatcher.scheduleTask(task, 0)
})

/**
 * Two ends of one link. Delivery goes through the scheduler, so a simulated one decides the order.
 *
 * @category constructors
 * @since 0.1.0
 */
export const pair = (options: MemoryLinkOptions = {}): Effect.Effect<readonly [Link, Link]> =>
  Effect.map(scheduling, (schedule) => makePair(options, schedule))

/**
 * A listener and the source that reaches it: each `next` is a fresh link.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: MemoryLinkOptions = {}
): Effect.Effect<{ readonly listener: Listener; readonly source: LinkSource.LinkSource }> =>
  Effect.map(scheduling, (schedule) => {
    const description = options.description ?? "memory"
    let take: ((link: Link) => void) | undefined
    return {
      listener: {
        description,
        onLink: (taker) => {
          take = taker
        }
      },
      source: LinkSource.make(
        description,
        Effect.suspend(() => {
          if (take === undefined) {
            return Effect.fail(LinkErrors.make(description, { _tag: "Open", cause: new Error("nobody listens") }))
          }
          const [near, far] = makePair(options, schedule)
          take(far)
          return Effect.acquireRelease(Effect.succeed(near), (link) => Effect.sync(() => link.destroy()))
        })
      )
    }
  })
