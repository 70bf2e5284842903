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
// Fetched when it is needed: the compiler is large, and the generated files are committed.
const tools = ["--package=@bufbuild/buf@1.75.0", "--package=@bufbuild/protoc-gen-es@2.17.0"]
const { status } = spawnSync("npx", ["--yes", ...tools, "buf", "generate", "proto", "--template", template], {
  cwd: root,
  stdio: "inherit"
})
process.exit(status ?? 1)
