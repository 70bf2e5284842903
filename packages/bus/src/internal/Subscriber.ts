/** Live reading: a stream over pages of stored events, woken by the bus. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import type * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { type Adapter, type AdapterError, adapterError } from "../Adapter.ts"
import * as Cursor from "../Cursor.ts"
import type { PollError } from "../Poll.ts"
import type { BusEvent, Diagnostics, SubscribeOptions } from "../Subscription.ts"
import * as Poller from "./Poller.ts"
import * as Trail from "./Trail.ts"

/** What wakes a subscription: the bus side of live reading. */
export interface Wake {
  /** Monotonic count of stored batches. */
  readonly version: () => number
  /** Resumes when `version() !== seen` or the bus is closed. */
  readonly changed: (seen: number) => Effect.Effect<void>
  /** True once the bus has shut down and everything is stored. */
  readonly closed: () => boolean
}

// 50 ms, 100 ms … never more than 5 s apart, spread so that subscribers do not come back together.
const pauses = Schedule.jittered(Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("5 seconds")]))

/** Errors that may pass on their own. Reading changes nothing, so a lost connection is tried again too. */
const mayPass = (error: AdapterError): boolean => error.isRetryable || error.reason._tag === "Connection"

const logged = (diagnostics: Diagnostics): Effect.Effect<void> =>
  Effect.logWarning("a subscription met more than events", {
    failedShards: diagnostics.failedShards.map(({ error, shard }) => `${shard}: ${error.message}`),
    stalledShards: diagnostics.stalledShards,
    unreadable: diagnostics.unreadable
  })

/** Counts how long reading has not worked. */
const makePatience = Effect.fnUntraced(function*(limit: Duration.Duration) {
  let since: number | undefined
  let pause = yield* Schedule.toStepWithSleep(pauses)
  return {
    reset: Effect.suspend(() => {
      if (since === undefined) return Effect.void
      since = undefined
      return Effect.map(Schedule.toStepWithSleep(pauses), (fresh) => {
        pause = fresh
      })
    }),
    /** Fails with the error if it will not pass, or has not for too long. */
    spend: (error: PollError): Effect.Effect<void, PollError> =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        if (error.reason._tag !== "Adapter" || !mayPass(error.reason.cause)) return Effect.fail(error)
        since ??= now
        return now - since >= Duration.toMillis(limit) ? Effect.fail(error) : Effect.void
      }),
    pause: Effect.suspend(() => Effect.ignore(pause(undefined)))
  }
})

/**
 * Follows a store from the given start: pages as long as there are any, then woken by the bus. Ends when the bus has shut down and everything
 * stored was delivered. While there is a backlog, one page is read ahead of the consumer, never more; interrupted anywhere, it has delivered
 * exactly the events up to the last cursor.
 */
export const make = (
  poller: Poller.Poller,
  wake: Wake,
  adapter: Adapter["Service"],
  options: SubscribeOptions = {}
): Stream.Stream<BusEvent, PollError> => Stream.scoped(Stream.fromPull(follow(poller, wake, adapter, options)))

/** A look at the store, and what the bus had said before it. */
interface Look {
  readonly closed: boolean
  readonly seen: number
  readonly page: Effect.Effect<Result.Result<Poller.Reading, PollError>>
}

const follow = Effect.fnUntraced(function*(
  poller: Poller.Poller,
  wake: Wake,
  adapter: Adapter["Service"],
  options: SubscribeOptions
) {
  const judge = yield* Effect.fromResult(Poller.judgeOf(options.filter, options.channel))
  const shards = yield* Effect.fromResult(Poller.shardsOf(options.shards))
  const limit = yield* Effect.fromResult(Poller.validLimit("chunkSize", options.chunkSize ?? 1000, 1))
  const report = options.onDiagnostics ?? logged
  const patience = yield* makePatience(Duration.fromInputUnsafe(options.retryFor ?? "1 minute"))
  const from = options.from ?? "beginning"

  /** Where to start: known at once, or asked of the store by the first pull. */
  let cursor = typeof from === "object"
    ? yield* Effect.fromResult(poller.decodeCursor(from.cursor))
    : from === "beginning"
    ? Cursor.empty
    : yield* endOf(adapter, patience)

  /** What went wrong beside the events delivered last. */
  let trouble: PollError | undefined
  /** The page after the one delivered last, while there is a backlog: it is read while the consumer works. */
  let ahead: Look | undefined
  const scope = yield* Effect.scope

  /** What is stored after this changes the version, and is looked for again. */
  const look = (cursor: Cursor.Cursor): Look => ({
    closed: wake.closed(),
    seen: wake.version(),
    page: Effect.result(poller.read({ limit, order: "shards", cursor, judge, shards }))
  })

  const readAhead = (cursor: Cursor.Cursor): Effect.Effect<Look> => {
    const next = look(cursor)
    return Effect.map(Effect.forkIn(next.page, scope, { startImmediately: true }), (fiber) => ({
      ...next,
      // A consumer that was cut off takes the scope's fibers with it; should it pull again, it reads for itself.
      page: Effect.flatMap(Fiber.await(fiber), (exit) => Exit.isSuccess(exit) ? Effect.succeed(exit.value) : next.page)
    }))
  }

  const idle = (seen: number): Effect.Effect<void> =>
    options.pollInterval === undefined
      ? wake.changed(seen)
      : Effect.asVoid(Effect.timeoutOption(wake.changed(seen), options.pollInterval))

  const next = Effect.gen(function*() {
    for (;;) {
      const current = ahead ?? look(cursor)
      const result = yield* current.page
      ahead = undefined
      if (result._tag === "Failure") {
        yield* patience.spend(result.failure)
        yield* patience.pause
        continue
      }
      const page = result.success
      const troubled = page.failedShards.length > 0 || page.stalledShards.length > 0
      if (troubled || page.unreadable > 0) yield* report(page)
      if (!troubled) yield* patience.reset
      if (page.events.length > 0) {
        const following = page.hasMore ? yield* readAhead(page.cursor) : undefined
        // Nothing below can be interrupted: either the page is delivered and the cursor behind it, or neither.
        const events = Trail.events(cursor, page, poller.encodeCursor)
        cursor = page.cursor
        ahead = following
        // A shard that fails while others deliver costs patience as well, or it would fail unnoticed for ever.
        trouble = troubled ? troubleOf(adapter, page) : undefined
        return events as [BusEvent, ...Array<BusEvent>]
      }
      cursor = page.cursor
      if (troubled) {
        yield* patience.spend(troubleOf(adapter, page))
        yield* patience.pause
      } else if (page.hasMore) {
        yield* Effect.yieldNow
      } else if (current.closed) {
        return yield* Cause.done()
      } else {
        yield* idle(current.seen)
      }
    }
  })

  const pull: Pull.Pull<readonly [BusEvent, ...Array<BusEvent>], PollError> = Effect.suspend(() => {
    if (trouble === undefined) return next
    const error = trouble
    trouble = undefined
    return Effect.andThen(patience.spend(error), next)
  })
  return pull
})

const troubleOf = (adapter: Adapter["Service"], page: Diagnostics): PollError => {
  const errors = page.failedShards.map(({ error }) => error)
  return Poller.ofAdapter(
    errors.find((error) => !mayPass(error)) ?? errors[0] ??
      adapterError(
        adapter.name,
        "Transient",
        `shards ${page.stalledShards.join(", ")} claim more events than they deliver`
      )
  )
}

const endOf = (
  adapter: Adapter["Service"],
  patience: Effect.Success<ReturnType<typeof makePatience>>
): Effect.Effect<Cursor.Cursor, PollError> =>
  adapter.tails.pipe(
    Effect.map((positions) => Cursor.make({ positions })),
    Effect.catch((error) =>
      patience.spend(Poller.ofAdapter(error)).pipe(
        Effect.andThen(patience.pause),
        Effect.andThen(Effect.suspend(() => endOf(adapter, patience)))
      )
    )
  )
