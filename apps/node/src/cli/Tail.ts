/**
 * `perigee tail`: events as they come in.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { Client, isUnreachable, Refusal } from "../Client.ts"
import { describe, type Failure } from "../Failure.ts"
import { unreachable } from "../Client.ts"
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

/** Reads server-sent events as far as a node writes them: one `id`, one or more `data`. */
class Frames {
  #id = ""
  #data: Array<string> = []
  #event = ""

  /** Takes one line; returns an event when it ends one. */
  take(line: string): { readonly id: string; readonly event: string; readonly data: string } | undefined {
    if (line === "") {
      const data = this.#data
      const event = this.#event
      this.#data = []
      this.#event = ""
      return data.length === 0 ? undefined : { id: this.#id, event, data: data.join("\n") }
    }
    if (line.startsWith("data: ")) this.#data.push(line.slice(6))
    else if (line.startsWith("id: ")) this.#id = line.slice(4)
    else if (line.startsWith("event: ")) this.#event = line.slice(7)
    return undefined
  }
}

const pause = Schedule.min([Schedule.exponential("200 millis"), Schedule.spaced("5 seconds")])

export const command = Command.make("tail", flags, (options) =>
  Effect.gen(function*() {
    const client = yield* Client
    const as = form(options)
    let cursor: string | undefined
    let away = false

    const connected = Effect.gen(function*() {
      const response = yield* client.get("/v1/tail", {
        query: {
          from: options.from,
          filter: Option.getOrUndefined(options.filter),
          channel: Option.getOrUndefined(options.channel)
        },
        headers: { accept: "text/event-stream", ...(cursor === undefined ? {} : { "last-event-id": cursor }) }
      })
      if (away) yield* tell("perigee: connected again")
      away = false
      const frames = new Frames()
      yield* response.stream.pipe(
        Stream.decodeText,
        Stream.splitLines,
        Stream.runForEachArray((lines) => {
          let text = ""
          for (const line of lines) {
            const frame = frames.take(line)
            if (frame === undefined || frame.event !== "") continue
            cursor = frame.id
            text += eventText(frame.data.replaceAll("\n", " "), as)
          }
          return text === "" ? Effect.void : print(text)
        }),
        Effect.mapError((error) => unreachable(client.url, describe(error)))
      )
      // The node has ended the stream: it stops, or it could not read on.
      return yield* Effect.fail(unreachable(client.url, "the node ended the stream"))
    })

    const mayPass = (error: Failure): boolean =>
      isUnreachable(error) || (error instanceof Refusal && error.status >= 500)
    let met = false
    yield* connected.pipe(
      Effect.tapError((error) => {
        // The first call decides whether there is a node at all; later ones wait for it.
        if (!mayPass(error) || away) return Effect.void
        away = true
        return tell(`perigee: ${error.message.split(". ")[0]}. Waiting for it.`)
      }),
      Effect.retry({ schedule: pause, while: (error) => mayPass(error) && (met = met || cursor !== undefined || away) })
    )
  }).pipe(Effect.provide(Flags.client(options)))).pipe(
    Command.withDescription("Print events as they come in; goes on behind the last one when the connection breaks"),
    Command.withExamples([
      { command: "perigee tail --from now --json | jq .magnitude", description: "One member of every new event" },
      { command: "perigee tail --from beginning --filter 'magnitude>=6'", description: "First the stored ones" }
    ])
  )
