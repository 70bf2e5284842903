#!/usr/bin/env node
import * as Module from "node:module"

// The entry of the `perigee` command. Plain JavaScript that old versions of Node can parse: it says what is wrong before anything newer is loaded.
const [major, minor] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(
    `perigee: Node ${process.versions.node} is too old: 22.19 or newer is needed. Install a newer Node, or run \`npx --package=node@24 perigee\`. [E_NODE_VERSION]\n`
  )
  process.exit(78)
}
// Compiled code is kept from one run to the next: commands start in a fraction of the time.
Module.enableCompileCache?.()
// A development run (`node --conditions=@perigee/source`) takes the sources; an installed package has only what was built.
const sources = process.execArgv.some((argument) => argument.includes("@perigee/source"))
await import(sources ? "../src/main.ts" : "../dist/main.js")
