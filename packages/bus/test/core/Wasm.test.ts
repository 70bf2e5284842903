import { assert, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { Worker } from "node:worker_threads"
import { hash } from "../../src/core/XxHash3.ts"

it("the committed WebAssembly is what its sources compile to", async () => {
  const script = new URL("../../../../scripts/build-wasm.mjs", import.meta.url).href
  const { compile } = (await import(script)) as {
    compile: (name: string) => Promise<{ bytes: number; source: string }>
  }
  const { bytes, source } = await compile("bus")
  assert.strictEqual(readFileSync(new URL("../../src/core/gen/wasm.ts", import.meta.url), "utf8"), source)
  assert.isBelow(bytes, 8192)
})

it("works in a worker thread", async () => {
  const module = new URL("../../src/core/XxHash3.ts", import.meta.url).href
  const worker = new Worker(
    `import(${JSON.stringify(module)}).then((m) => require("node:worker_threads").parentPort.postMessage(m.hash("a")))`,
    { eval: true }
  )
  const answer = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject))
  await worker.terminate()
  assert.strictEqual(answer, 0xe6c632b61e964e1fn)
})

it("works where there is no Buffer, as in a browser", async () => {
  const module = new URL("../../src/core/Staging.ts", import.meta.url).href
  const worker = new Worker(
    `const { parentPort } = require("node:worker_threads")
     delete globalThis.Buffer
     import(${JSON.stringify(module)}).then(({ Staging }) => {
       const staging = new Staging()
       const length = staging.stageString("é\\ud800😀" + "x".repeat(70000))
       parentPort.postMessage([typeof Buffer, length, staging.hash(length)])
     })`,
    { eval: true }
  )
  const answer = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject))
  await worker.terminate()
  const bytes = Buffer.from("é\ud800😀" + "x".repeat(70_000))
  assert.deepStrictEqual(answer, ["undefined", bytes.length, hash(bytes)])
})
