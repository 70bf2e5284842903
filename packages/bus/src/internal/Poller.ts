/** Reads pages through an adapter: the shell around {@link Merge}. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type Adapter, type AdapterError, adapterError } from "../Adapter.ts"
import { type Judge, Merge, type Page, type Want } from "../core/Merge.ts"
import * as Cursor from "../Cursor.ts"
import type { StoredEvent } from "../Event.ts"
import * as Filter from "../Filter.ts"
import { PollError, type PollErrorReason, type PollRequest, type PollResponse } from "../Poll.ts"

/** A request whose texts were decoded and whose filter was compiled, once for many pages. */
export interface ReadRequest {
  readonly limit: number
  readonly order: "shards" | "insertionTs"
  readonly cursor: Cursor.Cursor
  readonly judge: Judge | undefined
  readonly shards: ReadonlyArray<number> | undefined
}

/** A page, and the shards that could not be read for it. */
export interface Reading extends Page {
  readonly failedShards: ReadonlyArray<{ readonly shard: number; readonly error: AdapterError }>
}

export interface Poller {
  readonly poll: (request: PollRequest) => Effect.Effect<PollResponse, PollError>
  readonly read: (request: ReadRequest) => Effect.Effect<Reading, PollError>
  readonly decodeCursor: (text: string) => Result.Result<Cursor.Cursor, PollError>
  readonly encodeCursor: (cursor: Cursor.Cursor) => Result.Result<string, PollError>
}

/** Shards read at a time. */
const fetchConcurrency = 64

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const pollError = (reason: PollErrorReason): PollError => new PollError({ reason })

const invalidRequest = (message: string): Result.Result<never, PollError> =>
  Result.fail(pollError({ _tag: "InvalidRequest", message }))

const invalidCursor = (error: Cursor.CursorError): PollError =>
  pollError({ _tag: "InvalidCursor", message: error.message })

/** What channel and filter together let through; the channel is asked first, because it costs nothing. */
export const judgeOf = (
  filter: Filter.Filter | undefined,
  channel: string | undefined
): Result.Result<Judge | undefined, PollError> => {
  if (filter === undefined) {
    return Result.succeed(
      channel === undefined ? undefined : (event: StoredEvent) => event.channel === channel ? "keep" : "drop"
    )
  }
  const valid = Filter.validate(filter)
  if (Result.isFailure(valid)) {
    return Result.fail(pollError({ _tag: "InvalidFilter", message: valid.failure.message }))
  }
  const matches = Filter.compile(filter)
  return Result.succeed((event: StoredEvent) => {
    if (channel !== undefined && event.channel !== channel) return "drop"
    let value: unknown
    try {
      value = JSON.parse(utf8.decode(event.raw))
    } catch {
      return "unreadable"
    }
    return matches(value) ? "keep" : "drop"
  })
}

/** Shard numbers in ascending order, each once. */
export const shardsOf = (
  shards: ReadonlyArray<number> | undefined
): Result.Result<ReadonlyArray<number> | undefined, PollError> => {
  if (shards === undefined) return Result.succeed(shards)
  const wrong = shards.find((shard) => !Number.isInteger(shard) || shard < 0 || shard > 65_534)
  return wrong === undefined
    ? Result.succeed([...new Set(shards)].sort((a, b) => a - b))
    : invalidRequest(`shard ${wrong} is out of range: a shard is a whole number from 0 to 65,534`)
}

export const validLimit = (name: string, limit: number, least: number): Result.Result<number, PollError> =>
  Number.isSafeInteger(limit) && limit >= least
    ? Result.succeed(limit)
    : invalidRequest(`${name} ${limit} is out of range: a whole number from ${least} was expected`)

const validOrder = (order: PollRequest["order"]): Result.Result<"shards" | "insertionTs", PollError> =>
  order === undefined || order === "shards" || order === "insertionTs"
    ? Result.succeed(order ?? "shards")
    : invalidRequest(`order ${JSON.stringify(order)} is unknown: "shards" or "insertionTs" was expected`)

const nothing = (cursor: string | null): PollResponse => ({
  events: [],
  nextCursor: cursor,
  hasMore: false,
  truncatedAtPerShardCap: false,
  stalledShards: [],
  failedShards: [],
  unreadable: 0
})

/** What an adapter's failure is to a reader: a position that the store never handed out came from a forged or damaged cursor. */
export const ofAdapter = (cause: AdapterError): PollError =>
  cause.reason._tag === "InvalidPosition"
    ? pollError({ _tag: "InvalidCursor", message: `invalid cursor: ${cause.reason.message}` })
    : pollError({ _tag: "Adapter", cause })

export const make = (adapter: Adapter["Service"]): Poller => {
  /** The shards that can have something new: with no choice given, those whose end lies elsewhere than the cursor. */
  const candidates = (request: ReadRequest): Effect.Effect<ReadonlyArray<number>, PollError> =>
    request.shards !== undefined
      ? Effect.succeed(request.shards)
      : Effect.mapBoth(adapter.tails, {
        onFailure: ofAdapter,
        onSuccess: (tails) => {
          const shards: Array<number> = []
          for (const [shard, tail] of tails) if (request.cursor.positions.get(shard) !== tail) shards.push(shard)
          return shards.sort((a, b) => a - b)
        }
      })

  const read = Effect.fnUntraced(function*(request: ReadRequest) {
    const shards = yield* candidates(request)
    const merge = new Merge({ ...request, shards })
    const failedShards: Array<{ readonly shard: number; readonly error: AdapterError }> = []
    const fetch = ({ after, limit, shard }: Want): Effect.Effect<void> =>
      Effect.match(adapter.poll(shard, after, limit), {
        onSuccess: (page) => merge.feed(shard, page),
        onFailure: (error) => {
          failedShards.push({ shard, error })
          merge.fail(shard)
        }
      })
    for (let wants = merge.wants(); wants.length > 0; wants = merge.wants()) {
      yield* wants.length === 1
        ? fetch(wants[0]!)
        : Effect.forEach(wants, fetch, { concurrency: fetchConcurrency, discard: true })
    }
    const page = merge.finish()
    if (failedShards.length === shards.length && shards.length > 0 && page.events.length === 0) {
      return yield* ofAdapter(failedShards[0]!.error)
    }
    for (const { message, shard } of page.refused) {
      failedShards.push({ shard, error: adapterError(adapter.name, "InvalidPosition", message) })
    }
    failedShards.sort((a, b) => a.shard - b.shard)
    return { ...page, failedShards }
  })

  const decodeCursor = (text: string): Result.Result<Cursor.Cursor, PollError> =>
    Result.mapError(
      Result.flatMap(Cursor.decode(text), (cursor) => Cursor.checkStore(cursor, adapter.storeId)),
      invalidCursor
    )

  const encodeCursor = (cursor: Cursor.Cursor): Result.Result<string, PollError> =>
    Result.mapError(Cursor.encode({ ...cursor, store: adapter.storeId }), invalidCursor)

  const poll = Effect.fnUntraced(function*(request: PollRequest) {
    const own = request.cursor ?? null
    const limit = yield* Effect.fromResult(validLimit("limit", request.limit, 0))
    const shards = yield* Effect.fromResult(shardsOf(request.shards))
    if (limit === 0 || shards?.length === 0) return nothing(own)
    const page = yield* read({
      limit,
      order: yield* Effect.fromResult(validOrder(request.order)),
      cursor: own === null ? Cursor.empty : yield* Effect.fromResult(decodeCursor(own)),
      judge: yield* Effect.fromResult(judgeOf(request.filter, request.channel)),
      shards
    })
    return {
      events: page.events,
      nextCursor: page.moved ? yield* Effect.fromResult(encodeCursor(page.cursor)) : own,
      hasMore: page.hasMore,
      truncatedAtPerShardCap: page.truncatedAtPerShardCap,
      stalledShards: page.stalledShards,
      failedShards: page.failedShards,
      unreadable: page.unreadable
    }
  })

  return { poll, read, decodeCursor, encodeCursor }
}
