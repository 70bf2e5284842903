// Regenerates src/wire/gen from proto/PulsarApi.proto: `npm run generate -w @perigee/proto`.
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const template = JSON.stringify({
  version: "v2",
  plugins: [{
    local: "protoc-gen-es",
    out: "src/wire/gen",
    opt: ["target=ts", "import_extension=ts", "erasable_syntax=true"]
  }]
})
const { status } = spawnSync("npx", ["buf", "generate", "proto", "--template", template], { cwd: root, stdio: "inherit" })
process.exit(status ?? 1)
