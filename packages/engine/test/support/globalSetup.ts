/**
 * The folder of one test run: the shared Pulsar broker is started in it by whoever needs it first, and ended here.
 */
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { alive, stop } from "./BrokerProcess.ts"
import { cacheRoot } from "./PeerCache.ts"
import { RUN_FOLDER } from "./PulsarBroker.ts"

const number = (file: string): number | undefined => {
  try {
    return Number(readFileSync(file, "utf8"))
  } catch {
    return undefined
  }
}

const remove = async (folder: string): Promise<void> => {
  const pid = number(join(folder, "broker", "pid"))
  // The id may have been given to another process since: only one that names this folder is ours.
  if (pid !== undefined && alive(pid) && commandLine(pid).includes(folder)) {
    await Effect.runPromise(stop(pid, "SIGKILL"))
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}

const commandLine = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8")
  } catch {
    return spawnSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" }).stdout ?? ""
  }
}

export default async () => {
  const runs = join(cacheRoot, "runs")
  mkdirSync(runs, { recursive: true })
  // What a run left that was itself killed.
  for (const name of readdirSync(runs)) {
    const owner = number(join(runs, name, "owner"))
    // A folder without an owner may belong to a run that is starting right now. Its age is by the machine's clock, as its time is.
    const abandoned = owner === undefined ? Date.now() - statSync(join(runs, name)).mtimeMs > 60_000 : !alive(owner)
    if (abandoned) await remove(join(runs, name))
  }
  const folder = mkdtempSync(join(runs, "run-"))
  writeFileSync(join(folder, "owner"), `${process.pid}\n`)
  process.env[RUN_FOLDER] = folder
  return () => remove(folder)
}
