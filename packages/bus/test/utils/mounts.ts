import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { directory } from "./places.ts"

const run = (command: string, ...parameters: Array<string>): boolean =>
  spawnSync(command, parameters, { stdio: "ignore" }).status === 0

/** Whether this machine lets us mount file systems: Linux, with the right to. */
export const canMount: boolean = process.platform === "linux" && process.getuid?.() === 0 &&
  run("unshare", "--mount", "true")

/** A small file system in memory, mounted for the life of the scope. */
export const tmpfs = (kibibytes: number) =>
  Effect.flatMap(directory, (path) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        if (!run("mount", "-t", "tmpfs", "-o", `size=${kibibytes}k`, "tmpfs", path)) {
          throw new Error(`cannot mount on ${path}`)
        }
        return path
      }),
      () => Effect.sync(() => run("umount", "--lazy", path))
    ))

/** Changes the options of a mounted file system: `ro`, `rw`, `size=64m`. */
export const remount = (path: string, options: string) =>
  Effect.sync(() => {
    if (!run("mount", "-o", `remount,${options}`, path)) throw new Error(`cannot remount ${path}`)
  })
