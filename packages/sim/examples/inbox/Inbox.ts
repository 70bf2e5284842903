/** A program as anyone writes it: no word of simulation in here. */
import { Context, Effect, FileSystem, Layer } from "effect"
import type { PlatformError } from "effect/PlatformError"

export class Inbox extends Context.Service<Inbox, {
  readonly add: (line: string) => Effect.Effect<void, PlatformError>
  readonly all: Effect.Effect<ReadonlyArray<string>, PlatformError>
}>()("example/Inbox") {
  static readonly make = Effect.fnUntraced(function*(options: { readonly sync: boolean }) {
    const fs = yield* FileSystem.FileSystem
    const file = yield* fs.open("/inbox.log", { flag: "a+" })
    return Inbox.of({
      add: (line) =>
        Effect.andThen(
          file.writeAll(new TextEncoder().encode(`${line}\n`)),
          options.sync ? file.sync : Effect.void
        ),
      all: Effect.map(fs.readFileString("/inbox.log"), (text) => text.split("\n").slice(0, -1))
    })
  })
  static readonly layer = Layer.effect(Inbox, Inbox.make({ sync: true }))
  /** The first version: it trusted the page cache. */
  static readonly layerCareless = Layer.effect(Inbox, Inbox.make({ sync: false }))
}
