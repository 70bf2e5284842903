#!/usr/bin/env node
// The entry of the `perigee` command. Plain JavaScript that old versions of Node can parse: it says what is wrong before anything newer is loaded.
const [major, minor] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  console.error(
    `perigee: Node ${process.versions.node} is too old: 22.19 or newer is needed. Install a newer Node, or run \`npx --package=node@24 perigee\`. [E_NODE_VERSION]`
  )
  process.exit(78)
}
// A development run (`node --conditions=@perigee/source`) takes the sources; an installed package has only what was built.
const sources = process.execArgv.some((argument) => argument.includes("@perigee/source"))
await import(sources ? "../src/main.ts" : "../dist/main.js")
