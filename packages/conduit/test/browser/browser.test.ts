/** The browser build, and a real headless Chromium against our Node server with the link cut many times. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Queue, Stream } from "effect"
import { build } from "esbuild"
import { existsSync } from "node:fs"
import * as Http from "node:http"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { chromium } from "playwright-core"
import { ConduitHub, type StableConduit } from "../../src/index.ts"
import * as WebSocketServerLink from "../../src/links/WebSocketServerLink.ts"
import * as FaultProxy from "../../src/testing/FaultProxy.ts"

const page = fileURLToPath(new URL("page.ts", import.meta.url))
const client = fileURLToPath(new URL("../../src/index.ts", import.meta.url))
const executable = [
  process.env["CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-headless-shell",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome"
].find((path) => path !== undefined && existsSync(path))
if (executable === undefined) {
  if (process.env["CI"] === "true") throw new Error("CI must have a browser: install chromium or set CHROMIUM")
  process.stderr.write("conduit: browser test skipped: no chromium found, set CHROMIUM to its path\n")
}

const bundle = (options: { readonly entry: string; readonly external?: Array<string>; readonly code?: string }) =>
  build({
    ...options.code === undefined
      ? { entryPoints: [options.entry] }
      : { stdin: { contents: options.code, resolveDir: fileURLToPath(new URL(".", import.meta.url)), loader: "ts" } },
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    platform: "browser",
    format: "esm",
    target: "es2022",
    external: options.external ?? []
  })

describe("browser build", () => {
  it("has no Node import in its graph, whole, with everything that the main entry exports", async () => {
    const { metafile } = await bundle({ entry: client, external: ["effect/*"] })
    const imports = Object.values(metafile.outputs).flatMap((output) => output.imports.map(({ path }) => path))
    assert.deepStrictEqual(imports.filter((path) => !path.startsWith("effect/")), [])
    assert.deepStrictEqual(Object.keys(metafile.inputs).filter((path) => /node/i.test(path.split("/").at(-1)!)), [])
  })

  it("a client with the WebSocket link is at most 15 kB gzipped without Effect", async () => {
    const { outputFiles } = await bundle({
      entry: client,
      code: `export { StableConduit, WebSocketLink } from "../../src/index.ts"`,
      external: ["effect/*"]
    })
    const size = gzipSync(outputFiles[0]!.contents, { level: 9 }).length
    process.stderr.write(`conduit: browser client ${size} bytes gzipped without Effect\n`)
    assert.isAtMost(size, 15_000)
  })
})

describe.skipIf(executable === undefined)("headless Chromium", () => {
  const browser = Effect.acquireRelease(
    Effect.promise(() => chromium.launch({ executablePath: executable!, args: ["--no-sandbox"] })),
    (browser) => Effect.promise(() => browser.close())
  )
  const pageServer = Effect.gen(function*() {
    const { outputFiles } = yield* Effect.promise(() => bundle({ entry: page }))
    const server = yield* Effect.acquireRelease(
      Effect.callback<Http.Server>((resume) => {
        const server = Http.createServer((request, response) => {
          const script = request.url === "/page.js"
          response.setHeader("content-type", script ? "text/javascript" : "text/html")
          response.end(script ? outputFiles[0]!.contents : "<!doctype html><script type=module src=page.js></script>")
        }).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    )
    return (server.address() as { readonly port: number }).port
  })

  it.live("keeps its feed through dozens of cuts, both ways, exactly once and in order", () =>
    Effect.gen(function*() {
      const count = 2000
      const listener = yield* WebSocketServerLink.listen()
      const proxy = yield* FaultProxy.make({ port: listener.port })
      const conduits = yield* Queue.unbounded<StableConduit.StableConduit>()
      const echoed: Array<number> = []
      const hub = yield* ConduitHub.make({
        listen: Effect.succeed(listener),
        onConduit: (conduit) =>
          Effect.gen(function*() {
            yield* Queue.offer(conduits, conduit)
            const sending = Effect.gen(function*() {
              for (let n = 0; n < count; n++) {
                const item = new Uint8Array(4 + (n % 100))
                new DataView(item.buffer).setUint32(0, n)
                yield* conduit.send(item)
                if (n % 20 === 0) yield* Effect.sleep("100 millis")
              }
            })
            const receiving = conduit.receive.pipe(
              Stream.runForEach((item) =>
                Effect.sync(() => void echoed.push(new DataView(item.buffer, item.byteOffset).getUint32(0)))
              )
            )
            yield* Effect.all([sending, receiving], { concurrency: "unbounded" })
          })
      })
      const chrome = yield* browser
      const tab = yield* Effect.promise(() => chrome.newPage())
      const port = yield* pageServer
      yield* Effect.promise(() => tab.goto(`http://127.0.0.1:${port}/`))
      yield* Effect.promise(() => tab.waitForFunction(() => "conduitTest" in globalThis))
      assert.strictEqual(yield* Effect.promise(() => tab.evaluate(() => (globalThis as any).conduitTest.channel())), 3)
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep("250 millis"), proxy.cut)))
      const outcome = yield* Effect.promise(() =>
        tab.evaluate(
          ([url, count]) => (globalThis as any).conduitTest.feed(url, count),
          [
            `ws://${proxy.host}:${proxy.port}/feed`,
            count
          ] as const
        )
      )
      const expected = Array.from({ length: count }, (_, i) => i)
      assert.deepStrictEqual(outcome.received, expected)
      assert.strictEqual(outcome.gaps, 0)
      assert.isAbove(outcome.links, 15)
      const conduit = yield* Queue.take(conduits)
      assert.strictEqual((yield* conduit.ended).reason._tag, "PeerClosed")
      assert.deepStrictEqual(echoed, expected)
      assert.strictEqual((yield* hub.metrics).created, 1)
    }), 90_000)
})
