/**
 * Terminal one: takes a file over a conduit, prints its SHA-256 and answers with it.
 *
 *   node --conditions=@perigee/source examples/receive-file.ts [port] [path]
 */
import { ConduitHub } from "@perigee/conduit"
import { TcpLink } from "@perigee/conduit/node"
import { Deferred, Effect } from "effect"
import { createHash } from "node:crypto"
import { closeSync, openSync, writeSync } from "node:fs"

const [port = "7001", path] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const done = yield* Deferred.make<void>()
  const listener = yield* TcpLink.listen({ port: Number(port) })
  yield* ConduitHub.make({
    listen: Effect.succeed(listener),
    onConduit: (conduit) =>
      Effect.gen(function*() {
        const hash = createHash("sha256")
        const file = path === undefined ? undefined : openSync(path, "w")
        let bytes = 0
        // An empty item says that the file is whole.
        for (let whole = false; !whole;) {
          for (const chunk of yield* conduit.takeBatch) {
            whole = chunk.length === 0
            hash.update(chunk)
            if (file !== undefined) writeSync(file, chunk)
            bytes += chunk.length
          }
        }
        if (file !== undefined) closeSync(file)
        const digest = hash.digest("hex")
        console.log(`received ${bytes} bytes over ${(yield* conduit.metrics).links} links, sha256 ${digest}`)
        yield* conduit.send(new TextEncoder().encode(digest))
        yield* conduit.ended
        yield* Deferred.succeed(done, undefined)
      })
  })
  console.log(`listening on port ${listener.port}`)
  yield* Deferred.await(done)
})

await Effect.runPromise(Effect.scoped(program))
process.exit(0)
