/** Every example runs, as its own process, as a reader would run it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { chromium } from "playwright-core"

const folder = fileURLToPath(new URL("../examples/", import.meta.url))
const executable = [process.env["CHROMIUM"], "/usr/bin/chromium", "/usr/bin/chromium-headless-shell"]
  .find((path) => path !== undefined && existsSync(path))
if (executable === undefined) process.stderr.write("conduit: browser example skipped: no chromium found\n")

interface Running {
  readonly child: ChildProcess
  readonly output: () => string
  readonly exit: Promise<number | null>
  readonly says: (text: string) => Promise<void>
}
const start = (...args: Array<string>) =>
  Effect.acquireRelease(
    Effect.sync((): Running => {
      const child = spawn(process.execPath, ["--conditions=@perigee/source", ...args], { cwd: folder })
      let output = ""
      const looking = new Set<() => void>()
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (chunk) => {
          output += String(chunk)
          for (const look of looking) look()
        })
      }
      return {
        child,
        output: () => output,
        exit: new Promise((resolve) => child.once("exit", resolve)),
        says: (text) =>
          new Promise((resolve, reject) => {
            const look = () => {
              if (output.includes(text)) resolve()
            }
            looking.add(look)
            child.once("exit", () => reject(new Error(`ended without saying ${text}: ${output}`)))
            look()
          })
      }
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )
const freePort = Effect.callback<number>((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

describe("examples", () => {
  it.live("hello", () =>
    Effect.gen(function*() {
      const hello = yield* start("hello.ts")
      assert.strictEqual(yield* Effect.promise(() => hello.exit), 0)
      // The front page shows this program and this output.
      const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8")
      assert.include(readme, `$ node hello.ts\n${hello.output()}\`\`\``)
      const [, code] = readFileSync(join(folder, "hello.ts"), "utf8").split(" */\n")
      assert.include(readme, code!)
      assert.strictEqual(hello.output(), "a\nlink\nmay\ndie\n{ links: 5, duplicates: 0 }\n")
    }))

  it.live("a file arrives whole while the link is cut all the time", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const receiving = yield* start("receive-file.ts", String(port))
      yield* Effect.promise(() => receiving.says("listening"))
      const megabytes = process.env["FILE_MEGABYTES"] ?? "64"
      const sending = yield* start("send-file.ts", String(port), megabytes, process.env["CUT_EVERY"] ?? "50")
      assert.strictEqual(yield* Effect.promise(() => sending.exit), 0, sending.output())
      assert.include(sending.output(), "hashes equal")
      assert.strictEqual(yield* Effect.promise(() => receiving.exit), 0)
      assert.isAbove(Number(/over (\d+) links/.exec(sending.output())?.[1]), 2)
      process.stderr.write(`conduit: ${megabytes} MiB ${sending.output()}`)
    }), 300_000)

  it.live.skipIf(executable === undefined)(
    "a page keeps its feed while its server is killed and started again",
    () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const state = yield* Effect.acquireRelease(
          Effect.sync(() => mkdtempSync(join(tmpdir(), "conduit-"))),
          (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
        )
        const serve = Effect.tap(
          start("browser-feed/server.ts", String(port), state),
          (server) => Effect.promise(() => server.says("http://"))
        )
        const browser = yield* Effect.acquireRelease(
          Effect.promise(() => chromium.launch({ executablePath: executable!, args: ["--no-sandbox"] })),
          (browser) => Effect.promise(() => browser.close())
        )
        let server = yield* serve
        const tab = yield* Effect.promise(() => browser.newPage())
        yield* Effect.promise(() => tab.goto(`http://127.0.0.1:${port}/`))
        const atLeast = (count: number) =>
          Effect.promise(() => tab.waitForFunction((count) => (globalThis as any).numbers?.length >= count, count))
        yield* atLeast(5)
        for (let life = 1; life <= 2; life++) {
          server.child.kill("SIGKILL")
          yield* Effect.promise(() => server.exit)
          server = yield* serve
          yield* atLeast(5 + life * 10)
        }
        const numbers: Array<number> = yield* Effect.promise(() => tab.evaluate(() => (globalThis as any).numbers))
        assert.deepStrictEqual(numbers, Array.from({ length: numbers.length }, (_, i) => i))
      }),
    120_000
  )
})
