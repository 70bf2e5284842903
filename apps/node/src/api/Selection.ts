/**
 * Which events a reader asks for: the parameters that `/v1/events` and `/v1/tail` share.
 */
import { Filter } from "@perigee/bus"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { capitalise } from "./failures.ts"
import * as Problem from "./Problem.ts"

export interface Selection {
  readonly filter: Filter.Filter | undefined
  readonly channel: string | undefined
  readonly shards: ReadonlyArray<number> | undefined
}

/** Shards have 16 bits, and the last number is none. */
const lastShard = 65_534

const decodeShards = (text: string): Effect.Effect<ReadonlyArray<number>, Problem.BadRequest> => {
  const shards = text.split(",").map((part) => /^\d{1,5}$/.test(part.trim()) ? Number(part) : Number.NaN)
  return shards.every((shard) => shard <= lastShard)
    ? Effect.succeed(shards)
    : Effect.fail(
      new Problem.BadRequest({
        code: "E_SHARD",
        detail: `\`shards\` is a list of numbers from 0 to ${lastShard}, as 0,3,7.`
      })
    )
}

const decodeFilter = (text: string): Effect.Effect<Filter.Filter, Problem.BadRequest> =>
  Result.match(Filter.fromText(text), {
    onSuccess: Effect.succeed,
    onFailure: (error) =>
      Effect.fail(new Problem.BadRequest({ code: "E_FILTER", detail: `${capitalise(error.message)}.` }))
  })

/** Fails with `E_FILTER` or `E_SHARD`. */
export const decode = Effect.fnUntraced(function*(query: {
  readonly filter?: string
  readonly channel?: string
  readonly shards?: string
}): Effect.fn.Return<Selection, Problem.BadRequest> {
  return {
    filter: query.filter === undefined || query.filter.trim() === "" ? undefined : yield* decodeFilter(query.filter),
    channel: query.channel,
    shards: query.shards === undefined ? undefined : yield* decodeShards(query.shards)
  }
})
