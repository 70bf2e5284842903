/**
 * `perigee tail`: events as they come in.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { Client, isUnreachable, Refusal, unreachable } from "../Client.ts"
import { describe, type Failure } from "../Failure.ts"
import * as Flags from "./flags.ts"
import { eventText, form } from "./eventText.ts"
import { print, tell } from "./Output.ts"

const flags = {
  ...Flags.target,
  from: Flag.String("from").pipe(
    Flag.withDescription("beginning, end (default; also now), or a cursor"),
    Flag.withMetavar("WHERE"),
    Flag.withDefault("end")
  ),
  filter: Flags.filter,
  channel: Flags.channel,
  json: Flags.json,
  envelope: Flags.envelope
}

/** Reads server-sent events as far as a node writes them: an id, an event, one or more lines of data. */
class Frames {
  /** Where to go on: the id of the last whole frame. */
  cursor: string | undefined
  #id: string | undefined
  #event = ""
  #data: Array<string> = []

  /** Forgets a frame that the connection cut in two. */
  restart(): void {
    this.#id = this.cursor
    this.#event = ""
    this.#data = []
  }

  /** Takes one line; returns the data of an event when it ends one. */
  take(line: string): string | undefined {
    if (line.startsWith("data: ")) this.#data.push(line.slice(6))
    else if (line.startsWith("id: ")) this.#id = line.slice(4)
    else if (line.startsWith("event: ")) this.#event = line.slice(7)
    else if (line === "") return this.#end()
    return undefined
  }

  #end(): string | undefined {
    const data = this.#event === "" && this.#data.length > 0 ? this.#data.join(" ") : undefined
    this.cursor = this.#id ?? this.cursor
    this.#event = ""
    this.#data = []
    return data
  }
}

const pause = Schedule.min([Schedule.exponential("200 millis"), Schedule.spaced("5 seconds")])

export const command = Command.make("tail", flags, (options) =>
  Effect.gen(function*() {
    const client = yield* Client
    const as = form(options)
    const frames = new Frames()
    let state: "first" | "connected" | "away" = "first"

    const connected = Effect.gen(function*() {
      const response = yield* client.get("/v1/tail", {
        query: {
          from: options.from,
          filter: Option.getOrUndefined(options.filter),
          channel: Option.getOrUndefined(options.channel)
        },
        headers: {
          accept: "text/event-stream",
          ...(frames.cursor === undefined ? {} : { "last-event-id": frames.cursor })
        }
      })
      if (state === "away") yield* tell("perigee: connected again")
      state = "connected"
      frames.restart()
      yield* response.stream.pipe(
        Stream.decodeText,
        Stream.splitLines,
        Stream.runForEachArray((lines) => {
          let text = ""
          for (const line of lines) {
            const data = frames.take(line)
            if (data !== undefined) text += eventText(data, as)
          }
          return text === "" ? Effect.void : print(text)
        }),
        Effect.mapError((error) => unreachable(client.url, describe(error)))
      )
      // The node has ended the stream: it stops, or it could not read on.
      return yield* unreachable(client.url, "the node ended the stream")
    })

    // The first call decides whether there is a node at all; later ones wait for it to come back.
    const mayPass = (error: Failure): boolean =>
      state !== "first" && (isUnreachable(error) || (error instanceof Refusal && error.status >= 500))
    return yield* connected.pipe(
      Effect.tapError((error) => {
        if (!mayPass(error) || state === "away") return Effect.void
        state = "away"
        return tell(`perigee: ${error.message.split(". ")[0]}. Waiting for it.`)
      }),
      Effect.retry({ schedule: pause, while: mayPass })
    )
  }).pipe(Effect.provide(Flags.client(options)))).pipe(
    Command.withDescription("Print events as they come in; goes on behind the last one when the connection breaks"),
    Command.withExamples([
      { command: "perigee tail --from now --json | jq .magnitude", description: "One member of every new event" },
      { command: "perigee tail --from beginning --filter 'magnitude>=6'", description: "First the stored ones" }
    ])
  )
