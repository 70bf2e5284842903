/**
 * One end of a durable conversation, as a process that a test kills. Its consumer writes each item's number and value to
 * a file before it asks for the next, as an application would write its result.
 *
 * Arguments: role, folder, port, count. It sends numbers 0..count-1 and expects the same from the other end.
 */
import { Effect } from "effect"
import { appendFileSync, existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { DurableConduit, type ItemBatch, type StableConduit } from "../src/index.ts"
import { FileStore, TcpLink } from "../src/node.ts"
import * as SqliteStore from "../src/stores/SqliteStore.ts"

const [role, folder, port, total] = process.argv.slice(2) as [string, string, string, string]
const count = Number(total)
const resultFile = join(folder, "handled.log")

/** What the application knows it has handled: the number of the last whole line. */
const handled = (): ReadonlyArray<[number, number]> =>
  existsSync(resultFile)
    ? readFileSync(resultFile, "utf8").split("\n").filter((line) => line.endsWith(".")).map((line) => {
      const [seq, value] = line.slice(0, -1).split(" ").map(Number)
      return [seq!, value!]
    })
    : []

const talk = (conduit: StableConduit.StableConduit) =>
  Effect.gen(function*() {
    const send = Effect.gen(function*() {
      // The n-th item has number n, so the conduit itself knows where an earlier life left off.
      let next = (yield* conduit.metrics).nextSeq
      while (next < count) {
        const item = new Uint8Array(4 + (next % 50))
        new DataView(item.buffer).setUint32(0, next)
        yield* conduit.send(item)
        next++
      }
    })
    const receive = conduit.consume((batch: ItemBatch) =>
      Effect.sync(() => {
        let lines = ""
        for (let i = 0; i < batch.count; i++) {
          const item = batch.at(i)
          lines += `${batch.seq(i)} ${new DataView(item.buffer, item.byteOffset).getUint32(0)}.\n`
        }
        appendFileSync(resultFile, lines)
        process.send?.({ handled: batch.lastSeq })
      })
    )
    yield* Effect.all([send, receive], { concurrency: "unbounded" })
  })

const program = Effect.gen(function*() {
  const last = handled().at(-1)
  const resumeAfter = last?.[0]
  const timing = { ack: { delay: "1 millis" } } as const
  if (role === "client") {
    const store = yield* FileStore.make({ folder: join(folder, "store"), compactBytes: 4096 })
    const conduit = yield* DurableConduit.dial(TcpLink.source({ host: "127.0.0.1", port: Number(port) }), {
      store,
      id: "client",
      resumeAfter,
      ...timing
    })
    yield* talk(conduit)
  } else {
    const store = yield* SqliteStore.make({ path: join(folder, "store.db") })
    yield* DurableConduit.hub({
      store,
      listen: TcpLink.listen({ port: Number(port) }),
      onConduit: talk,
      resumeAfter: () => Effect.succeed(resumeAfter),
      ...timing
    })
    yield* Effect.never
  }
})

Effect.runPromise(Effect.scoped(program)).catch((error: unknown) => {
  process.stderr.write(`${role}: ${String(error)} ${JSON.stringify(error)}\n`)
  process.exit(1)
})
