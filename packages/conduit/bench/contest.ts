/** How contestants run: each prepared once, then by turns. */
import { Effect, type Scope } from "effect"
import { fork } from "node:child_process"
import { run as runRust, type RustPeer } from "../test/rust.ts"

export const quick = process.argv.includes("--quick")
/** Turns that count; one more goes before them. */
export const runs = quick ? 3 : 5
export const scale = quick ? 0.2 : 1

/** Whoever takes part: its outer effect prepares, the inner one runs once and says how many messages a second. */
export type Contestant = Effect.Effect<Effect.Effect<number>, never, Scope.Scope>

/** Prepares everyone who is there, runs them by turns, and gives the figures of each. */
export const alternate = <C extends Readonly<Record<string, Contestant | undefined>>>(
  contestants: C
): Effect.Effect<{ [Name in keyof C]: C[Name] extends Contestant ? Array<number> : Array<number> | undefined }> =>
  Effect.scoped(Effect.gen(function*() {
    const ready: Array<{ readonly run: Effect.Effect<number>; readonly figures: Array<number> }> = []
    const all: Record<string, Array<number>> = {}
    for (const [name, contestant] of Object.entries(contestants)) {
      if (contestant !== undefined) ready.push({ run: yield* contestant, figures: all[name] = [] })
    }
    for (let turn = 0; turn <= runs; turn++) {
      for (const { figures, run } of ready) {
        const figure = yield* run
        if (turn > 0) figures.push(figure)
      }
    }
    return all as any
  }))

export const seconds = (started: bigint): number => Number(process.hrtime.bigint() - started) / 1e9

/** A process of `server.ts` in a role. */
export const server = (role: string, count = 0) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly stop: () => void }>((resume) => {
      const child = fork(new URL("server.ts", import.meta.url).pathname, [role, String(count)], {
        execArgv: ["--conditions=@perigee/source"]
      })
      child.once("message", (message) => {
        resume(Effect.succeed({ port: (message as { port: number }).port, stop: () => child.kill() }))
      })
    }),
    ({ stop }) => Effect.sync(stop)
  )

/** A Rust process that says its port. */
export const rustServer = (...args: Array<string>): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async (): Promise<readonly [RustPeer, string]> => {
      const peer = runRust(...args)
      return [peer, (await peer.line("port")).split(" ")[1]!]
    }),
    ([{ child }]) => Effect.sync(() => child.kill())
  ).pipe(Effect.map(([, port]) => `127.0.0.1:${port}`))

/** Runs a Rust client to its end and gives the seconds it says it took. */
export const rustSeconds = (...args: Array<string>): Effect.Effect<number> =>
  Effect.promise(async () => {
    const peer = runRust(...args)
    const line = await peer.line("seconds")
    peer.child.kill()
    return Number(line.split(" ")[1])
  })
