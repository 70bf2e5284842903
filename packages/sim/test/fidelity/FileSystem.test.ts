// One contract, two implementations: what programs observe of a file system must not depend on which one it is.
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, FileSystem, Option, Stream } from "effect"
import { run } from "../fixtures/run.ts"

type Contract = (fs: FileSystem.FileSystem, dir: string) => Effect.Effect<unknown, unknown, never>

const bytes = (text: string) => new TextEncoder().encode(text)
/** Outcome of an operation as both implementations can say it. */
const outcome = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.map(Effect.result(effect), (result) => {
    if (result._tag === "Success") return result.success instanceof Uint8Array ? [...result.success] : result.success
    const { reason } = result.failure as { reason?: { _tag: string } }
    return `fails with ${reason?._tag}`
  })

const contracts: Readonly<Record<string, Contract>> = {
  "writes, reads, appends": (fs, dir) =>
    Effect.gen(function*() {
      const path = `${dir}/a`
      yield* fs.writeFileString(path, "one")
      yield* fs.writeFileString(path, " two", { flag: "a" })
      const whole = yield* fs.readFileString(path)
      yield* fs.writeFileString(path, "3")
      return [whole, yield* fs.readFileString(path), Number((yield* fs.stat(path)).size)]
    }),
  "missing and existing": (fs, dir) =>
    Effect.all([
      outcome(fs.readFile(`${dir}/none`)),
      outcome(fs.stat(`${dir}/none`)),
      outcome(fs.access(`${dir}/none`)),
      fs.exists(`${dir}/none`),
      outcome(fs.makeDirectory(`${dir}/d`)),
      outcome(fs.makeDirectory(`${dir}/d`)),
      outcome(fs.makeDirectory(`${dir}/d`, { recursive: true })),
      outcome(fs.makeDirectory(`${dir}/x/y/z`)),
      // Node answers with the first directory that it made, which the type does not promise.
      outcome(Effect.asVoid(fs.makeDirectory(`${dir}/x/y/z`, { recursive: true }))),
      outcome(fs.readFile(`${dir}/d`)),
      outcome(fs.writeFileString(`${dir}/d`, "x")),
      outcome(fs.writeFileString(`${dir}/none/x`, "x")),
      outcome(fs.remove(`${dir}/none`)),
      outcome(fs.remove(`${dir}/none`, { force: true })),
      outcome(fs.writeFileString(`${dir}/f`, "x", { flag: "wx" })),
      outcome(fs.writeFileString(`${dir}/f`, "x", { flag: "wx" })),
      outcome(fs.readDirectory(`${dir}/f`)),
      outcome(fs.readFile(`${dir}/f/x`))
    ]),
  "directories": (fs, dir) =>
    Effect.gen(function*() {
      yield* fs.makeDirectory(`${dir}/a/b`, { recursive: true })
      yield* fs.writeFileString(`${dir}/a/f`, "1")
      yield* fs.writeFileString(`${dir}/a/b/g`, "2")
      const flat = yield* fs.readDirectory(`${dir}/a`)
      const deep = yield* fs.readDirectory(`${dir}/a`, { recursive: true })
      const entries = yield* fs.readDirectoryEntries(`${dir}/a`)
      const refused = yield* outcome(fs.remove(`${dir}/a`))
      yield* fs.remove(`${dir}/a`, { recursive: true })
      return [
        flat.toSorted(),
        deep.toSorted(),
        entries.map(({ name, type }) => `${name} ${type}`).sort(),
        String(refused).startsWith("fails"),
        yield* fs.exists(`${dir}/a`)
      ]
    }),
  "renames over files and keeps what is open": (fs, dir) =>
    Effect.scoped(Effect.gen(function*() {
      yield* fs.writeFileString(`${dir}/old`, "old")
      yield* fs.writeFileString(`${dir}/new`, "new")
      const file = yield* fs.open(`${dir}/old`)
      yield* fs.rename(`${dir}/new`, `${dir}/old`)
      const still = yield* file.readAlloc(10)
      return [
        new TextDecoder().decode(Option.getOrThrow(still)),
        yield* fs.readFileString(`${dir}/old`),
        yield* outcome(fs.rename(`${dir}/none`, `${dir}/x`))
      ]
    })),
  "file handles: position, seek, truncate, end": (fs, dir) =>
    Effect.scoped(Effect.gen(function*() {
      const file = yield* fs.open(`${dir}/h`, { flag: "w+" })
      yield* file.writeAll(bytes("0123456789"))
      yield* file.sync
      const atEnd = yield* file.readAlloc(4)
      yield* file.seek(2n, "start")
      const two = yield* file.readAlloc(3)
      yield* file.seek(1n, "current")
      const six = yield* file.readAlloc(2)
      const positioned = yield* file.readAlloc(2, { position: 0n })
      const short = yield* file.readAlloc(100)
      yield* file.truncate(4)
      yield* file.writeAll(bytes("X"))
      const buffer = new Uint8Array(3)
      const count = yield* file.read(buffer, { position: 2n })
      const show = (option: Option.Option<Uint8Array>) => Option.map(option, (value) => [...value])
      return [
        atEnd,
        show(two),
        show(six),
        show(positioned),
        show(short),
        count,
        [...buffer],
        Number((yield* file.stat).size),
        yield* outcome(file.seek(-1n, "start")),
        yield* fs.readFile(`${dir}/h`).pipe(Effect.map((value) => [...value]))
      ]
    })),
  "append mode writes at the end whatever was read": (fs, dir) =>
    Effect.scoped(Effect.gen(function*() {
      yield* fs.writeFileString(`${dir}/log`, "abc")
      const file = yield* fs.open(`${dir}/log`, { flag: "a+" })
      const first = yield* file.readAlloc(2)
      yield* file.writeAll(bytes("d"))
      const rest = yield* file.readAlloc(10)
      return [first, rest, yield* fs.readFileString(`${dir}/log`)].map((value) =>
        typeof value === "string" ? value : Option.map(value, (found) => [...found])
      )
    })),
  "open flags": (fs, dir) =>
    Effect.gen(function*() {
      yield* fs.writeFileString(`${dir}/f`, "x")
      const open = (path: string, flag: FileSystem.OpenFlag) =>
        outcome(Effect.scoped(Effect.as(fs.open(path, { flag }), "ok")))
      const onRead = yield* outcome(
        Effect.scoped(Effect.flatMap(fs.open(`${dir}/f`), (file) => file.writeAll(bytes("x"))))
      )
      const onWrite = yield* outcome(
        Effect.scoped(Effect.flatMap(fs.open(`${dir}/g`, { flag: "w" }), (file) => file.readAlloc(1)))
      )
      return [
        yield* open(`${dir}/none`, "r"),
        yield* open(`${dir}/none`, "r+"),
        yield* open(`${dir}/f`, "r+"),
        yield* open(`${dir}/f`, "wx"),
        yield* open(`${dir}/made`, "ax+"),
        yield* open(dir, "w"),
        onRead,
        onWrite
      ]
    }),
  "symbolic and hard links": (fs, dir) =>
    Effect.gen(function*() {
      yield* fs.writeFileString(`${dir}/target`, "t")
      yield* fs.symlink(`${dir}/target`, `${dir}/soft`)
      yield* fs.link(`${dir}/target`, `${dir}/hard`)
      yield* fs.symlink(`${dir}/loop2`, `${dir}/loop1`)
      yield* fs.symlink(`${dir}/loop1`, `${dir}/loop2`)
      const read = yield* fs.readFileString(`${dir}/soft`)
      yield* fs.writeFileString(`${dir}/hard`, "changed")
      const through = yield* fs.readFileString(`${dir}/soft`)
      const real = yield* fs.realPath(`${dir}/soft`)
      yield* fs.remove(`${dir}/target`)
      return [
        read,
        through,
        real.replace(dir, ""),
        (yield* fs.readLink(`${dir}/soft`)).replace(dir, ""),
        (yield* fs.lstat(`${dir}/soft`)).type,
        yield* outcome(fs.stat(`${dir}/soft`)),
        yield* fs.readFileString(`${dir}/hard`),
        yield* outcome(fs.readFile(`${dir}/loop1`))
      ]
    }),
  "copies": (fs, dir) =>
    Effect.gen(function*() {
      yield* fs.makeDirectory(`${dir}/from/sub`, { recursive: true })
      yield* fs.writeFileString(`${dir}/from/sub/f`, "deep")
      yield* fs.copy(`${dir}/from`, `${dir}/to`)
      yield* fs.copyFile(`${dir}/to/sub/f`, `${dir}/copy`)
      return [yield* fs.readFileString(`${dir}/to/sub/f`), yield* fs.readFileString(`${dir}/copy`)]
    }),
  "truncates and grows by path": (fs, dir) =>
    Effect.gen(function*() {
      yield* fs.writeFileString(`${dir}/t`, "abcdef")
      yield* fs.truncate(`${dir}/t`, 3)
      const short = yield* fs.readFileString(`${dir}/t`)
      yield* fs.truncate(`${dir}/t`, 5)
      return [short, [...(yield* fs.readFile(`${dir}/t`))]]
    }),
  "watches a directory and a file": (fs, dir) =>
    Effect.gen(function*() {
      yield* fs.writeFileString(`${dir}/known`, "x")
      const seen: Array<string> = []
      const watch = (path: string, as: string) =>
        Effect.gen(function*() {
          const ready = yield* Deferred.make<void>()
          const watching = fs.watch(path, { onReady: () => Deferred.doneUnsafe(ready, Effect.void) }).pipe(
            Stream.runForEach((event) => Effect.sync(() => seen.push(`${as} ${event._tag} ${event.path}`)))
          )
          yield* Effect.forkChild(watching)
          yield* Deferred.await(ready)
        })
      yield* watch(dir, "directory")
      yield* watch(`${dir}/known`, "file")
      const steps = [
        fs.writeFileString(`${dir}/new`, "1"),
        fs.writeFileString(`${dir}/known`, "2"),
        fs.rename(`${dir}/new`, `${dir}/moved`),
        fs.remove(`${dir}/moved`)
      ]
      const told: Array<ReadonlyArray<string>> = []
      for (const step of steps) {
        yield* step
        // The kernel takes its time, and may tell of one change more than once.
        yield* Effect.sleep("300 millis")
        told.push([...new Set(seen.splice(0))].sort())
      }
      return [...told, yield* outcome(Stream.runDrain(fs.watch(`${dir}/none`)))]
    }),
  "temporary files go with their scope": (fs) =>
    Effect.gen(function*() {
      const [file, directory] = yield* Effect.scoped(Effect.gen(function*() {
        const file = yield* fs.makeTempFileScoped({ suffix: ".x" })
        const directory = yield* fs.makeTempDirectoryScoped({ prefix: "p-" })
        yield* fs.writeFileString(`${directory}/f`, "x")
        return [file, directory] as const
      }))
      return [file.endsWith(".x"), yield* fs.exists(file), yield* fs.exists(directory)]
    })
}

const onNode = (contract: Contract) =>
  Effect.runPromise(
    Effect.scoped(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const dir = yield* fs.realPath(yield* fs.makeTempDirectoryScoped())
      return yield* contract(fs, dir)
    })).pipe(Effect.provide(NodeFileSystem.layer)) as Effect.Effect<unknown>
  )

const simulated = (contract: Contract) => {
  let observed: unknown
  const result = run((sim) =>
    sim.host("disk").run(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      yield* fs.makeDirectory("/work")
      observed = yield* contract(fs, "/work")
    }))
  )
  assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  return observed
}

describe("FileSystem, Node's and the simulated one", () => {
  it.each(Object.keys(contracts))("%s", async (name) => {
    const contract = contracts[name]!
    const real = await onNode(contract)
    assert.isArray(real)
    assert.deepStrictEqual(simulated(contract), real)
  })
})
