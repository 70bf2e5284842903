// Promises about the package as such.
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../../..", import.meta.url))
const imports = (file: string) =>
  [...readFileSync(file, "utf8").matchAll(/(?:from|import) ?\(?"([^"]+)"/g)].map((match) => match[1]!)

describe("@perigee/sim", () => {
  it("depends on effect and on Node alone", () => {
    const found = globSync("packages/sim/src/**/*.ts", { cwd: root }).flatMap((file) => imports(root + file))
    assert.isAbove(found.length, 100)
    const foreign = found.filter((name) => !/^(?:effect\/|node:|\.)/.test(name))
    assert.deepStrictEqual(foreign, [])
    const manifest = JSON.parse(readFileSync(`${root}packages/sim/package.json`, "utf8")) as Record<string, object>
    assert.deepStrictEqual(Object.keys(manifest["peerDependencies"]!), ["effect"])
    assert.isUndefined(manifest["dependencies"])
    assert.isUndefined((manifest["scripts"] as Record<string, string>)["install"])
  })
  it("is imported by no product source", () => {
    const sources = globSync(["packages/*/src/**/*.ts", "apps/*/src/**/*.ts"], { cwd: root })
      .filter((file) => !file.startsWith("packages/sim/"))
    for (const file of sources) {
      assert.deepStrictEqual(imports(root + file).filter((name) => name.startsWith("@perigee/sim")), [], file)
    }
  })
})
