import { existsSync, readdirSync } from "node:fs"
import { resolve } from "node:path"
import { defineConfig } from "vitest/config"

// Tests run on the sources: the private export condition leads every workspace import to `src`.
const conditions = ["@perigee/source"]

/** What a package's tests share for a whole run, a server for example, is started and ended by its `test/support/globalSetup.ts`. */
const globalSetup = (folder: string): Array<string> =>
  [resolve(folder, "test/support/globalSetup.ts")].filter((file) => existsSync(file))

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
        globalSetup: globalSetup(`${room}/${name}`),
        testTimeout: 120_000,
        hookTimeout: 300_000
      }
    }))
)

// Much of a run waits for servers and other processes: a core that vitest would keep for itself would idle.
export default defineConfig({ test: { projects, maxWorkers: "100%" } })
