/**
 * A feed for browsers that survives its server: stop this program, kill it, start it again, and the page goes on with the
 * next number.
 *
 *   node --conditions=@perigee/source examples/browser-feed/server.ts [port] [folder]     and open the address it prints
 */
import { DurableConduit, type StableConduit } from "@perigee/conduit"
import { FileStore } from "@perigee/conduit/node"
import * as WebSocketServerLink from "@perigee/conduit/ws"
import { Effect } from "effect"
import { build } from "esbuild"
import { createServer } from "node:http"
import { fileURLToPath } from "node:url"

const [port = "7002", folder = ".feed"] = process.argv.slice(2)

/** One number every tenth of a second. The n-th item has number n, so the conduit knows where an earlier life stopped. */
const feed = (conduit: StableConduit.StableConduit) =>
  Effect.gen(function*() {
    for (;;) {
      const { nextSeq } = yield* conduit.metrics
      yield* conduit.send(new TextEncoder().encode(String(nextSeq)))
      yield* Effect.sleep("100 millis")
    }
  })

const program = Effect.gen(function*() {
  const { outputFiles } = yield* Effect.promise(() =>
    build({
      entryPoints: [fileURLToPath(new URL("page.ts", import.meta.url))],
      bundle: true,
      write: false,
      format: "esm",
      conditions: ["@perigee/source"]
    })
  )
  const pages = createServer((request, response) => {
    const script = request.url === "/page.js"
    response.setHeader("content-type", script ? "text/javascript" : "text/html")
    response.end(
      script
        ? outputFiles[0]!.contents
        : "<!doctype html><title>feed</title><h1 id=number>…</h1><p id=status></p><script type=module src=page.js></script>"
    )
  })
  yield* Effect.callback<void>((resume) => {
    pages.listen(Number(port), "127.0.0.1", () => resume(Effect.void))
  })
  const store = yield* FileStore.make({ folder })
  yield* DurableConduit.hub({
    store,
    listen: WebSocketServerLink.listen({ server: pages, path: "/feed" }),
    onConduit: feed
  })
  console.log(`http://127.0.0.1:${port}/`)
  return yield* Effect.never
})

await Effect.runPromise(Effect.scoped(program))
