/**
 * Prints a topic from a place of one's choice.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { failure } from "../../../Failure.ts"
import { form, printed } from "../../../pulsar/messageText.ts"
import * as Position from "../../../pulsar/Position.ts"
import { pulsarFailure } from "../../../pulsar/pulsarFailure.ts"
import { read } from "../../../pulsar/TopicReader.ts"
import { watch } from "../../../pulsar/Watch.ts"
import { count, print, rate, tell } from "../../Output.ts"
import * as Progress from "../../Progress.ts"
import { places } from "../flags.ts"
import type { ReadOptions } from "../Read.ts"
import { client } from "./client.ts"

/** What `--from` says. */
export const positionOf = Effect.fnUntraced(function*(text: string) {
  const position = Position.parse(text, yield* Clock.currentTimeMillis)
  return position ??
    (yield* failure("E_PULSAR_POSITION", "usage", `--from ${text} is no place on a topic: ${places}.`))
})

interface Figures {
  readonly read: number
  readonly millis: number
}

export const run = (options: ReadOptions) =>
  Effect.scoped(Effect.gen(function*() {
    const as = form(options)
    const from = yield* positionOf(options.from)
    const limit = Option.getOrElse(options.count, () => Number.POSITIVE_INFINITY)
    const started = yield* Clock.currentTimeMillis
    const meter = Progress.meter<Figures>(
      (figures) => ` ${count(figures.read)} read  ${rate(figures.read, figures.millis)}`,
      { sharesTerminal: true }
    )
    yield* watch(meter.interrupt)
    let printedSoFar = 0
    const figures = Effect.map(
      Clock.currentTimeMillis,
      (now): Figures => ({ read: printedSoFar, millis: now - started })
    )
    const { silent } = yield* read({
      topic: options.topic,
      from,
      follow: options.follow,
      queue: Math.min(1000, limit),
      patience: `${options.wait} seconds`,
      onMessages: Effect.fnUntraced(function*(messages) {
        const wanted = messages.slice(0, Math.max(0, limit - printedSoFar))
        printedSoFar += wanted.length
        yield* print(printed(wanted, as))
        yield* Effect.flatMap(figures, meter.update)
        return printedSoFar >= limit
      })
    }).pipe(
      Effect.mapError(pulsarFailure(options.url)),
      Effect.onExit((exit) =>
        Exit.isFailure(exit) && printedSoFar === 0 ? Effect.void : Effect.flatMap(figures, meter.end)
      )
    )
    for (const topic of silent) {
      yield* tell(
        `perigee: ${topic} sent nothing for ${options.wait} s, before its last message: there may be no more to read of it.`
      )
    }
  })).pipe(Effect.provide(client(options)))
