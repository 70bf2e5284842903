import { assert, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"

it("the laws run under node:test", () => {
  const example = new URL("../../examples/conformance.ts", import.meta.url).pathname
  const { NODE_OPTIONS: _, NODE_TEST_CONTEXT: __, ...env } = process.env
  const run = spawnSync(process.execPath, ["--conditions=@perigee/source", "--test", "--test-reporter=tap", example], {
    encoding: "utf8",
    env
  })
  assert.match(run.stdout, /# pass [1-9]\d*\n# fail 0/)
  assert.strictEqual(run.status, 0)
})
