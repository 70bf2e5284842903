import { existsSync, readdirSync } from "node:fs"
import { defineConfig } from "vitest/config"

// Tests run on the sources: the private export condition leads every workspace import to `src`.
const conditions = ["@perigee/source"]

const projects = ["packages", "apps"].filter((room) => existsSync(room)).flatMap((room) =>
  readdirSync(room)
    .filter((name) => existsSync(`${room}/${name}/test`))
    .map((name) => ({
      resolve: { conditions },
      ssr: { resolve: { conditions } },
      test: {
        name,
        root: `${room}/${name}`,
        include: ["test/**/*.test.ts"],
        testTimeout: 120_000,
        hookTimeout: 300_000
      }
    }))
)

export default defineConfig({ test: { projects } })
