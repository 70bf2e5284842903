/**
 * Terminal two: sends a file, or a gigabyte of noise, while its link is cut every second, and compares the hashes.
 *
 *   node --conditions=@perigee/source examples/send-file.ts [port] [path | megabytes] [cut every, in ms]
 */
import { StableConduit } from "@perigee/conduit"
import { TcpLink } from "@perigee/conduit/node"
import { Effect } from "effect"
import { createHash, randomBytes } from "node:crypto"
import { createReadStream, existsSync } from "node:fs"

const [port = "7001", what = "1024", every = "1000"] = process.argv.slice(2)

/** The file's chunks, or so many mebibytes of noise. */
async function* chunks(): AsyncGenerator<Uint8Array> {
  if (existsSync(what)) yield* createReadStream(what, { highWaterMark: 262_144 })
  else for (let i = 0; i < Number(what) * 4; i++) yield randomBytes(262_144)
}

const program = Effect.gen(function*() {
  const conduit = yield* StableConduit.dial(TcpLink.source({ host: "127.0.0.1", port: Number(port) }))
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(Number(every)), conduit.kick)))
  const hash = createHash("sha256")
  const source = chunks()
  for (;;) {
    const { done, value } = yield* Effect.promise(() => source.next())
    if (done === true) break
    hash.update(value)
    yield* conduit.send(value)
  }
  yield* conduit.send(new Uint8Array(0))
  const ours = hash.digest("hex")
  const theirs = new TextDecoder().decode(yield* conduit.take)
  const { links, replayed } = yield* conduit.metrics
  console.log(
    `sent over ${links} links, ${replayed} frames twice: ${ours === theirs ? "hashes equal" : "HASHES DIFFER"}`
  )
  yield* conduit.close({ drain: "10 seconds" })
  if (ours !== theirs) process.exitCode = 1
})

await Effect.runPromise(Effect.scoped(program))
