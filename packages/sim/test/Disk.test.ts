import { assert, describe, it } from "@effect/vitest"
import type { Nemesis } from "@perigee/sim"
import { Effect, Exit, Fiber, FileSystem, Stream } from "effect"
import { KeyValueStore } from "effect/persistence"
import { Rng } from "../src/internal/Rng.ts"
import { DiskFailure, DiskModel } from "../src/world/DiskModel.ts"
import { fault, run } from "./fixtures/run.ts"

const bytes = (text: string) => new TextEncoder().encode(text)
const read = (disk: DiskModel, path: string) => {
  const inode = disk.lookup(path, "read")
  return new TextDecoder().decode(inode.cache.bytes.subarray(0, inode.cache.size))
}

describe("DiskModel", () => {
  it("a power cut keeps what was synced and any subset of the rest", () => {
    const outcomes = new Set<string>()
    for (let seed = 0; seed < 200; seed++) {
      const disk = new DiskModel(1 << 20)
      const ino = disk.open("/f", "w", 0o666, 0)
      disk.write(ino, bytes("AAAA"), 0, 0)
      disk.sync(ino)
      disk.write(ino, bytes("BB"), 0, 0)
      disk.write(ino, bytes("CC"), 4, 0)
      disk.crash(new Rng(0, seed, "crash"), { torn: false, nothing: false })
      outcomes.add(read(disk, "/f"))
    }
    assert.deepStrictEqual([...outcomes].sort(), ["AAAA", "AAAACC", "BBAA", "BBAACC"])
  })
  it("a torn write keeps single sectors", () => {
    const kept = new Set<number>()
    for (let seed = 0; seed < 100; seed++) {
      const disk = new DiskModel(1 << 20)
      const ino = disk.open("/f", "w", 0o666, 0)
      disk.write(ino, new Uint8Array(2048), 0, 0)
      disk.sync(ino)
      disk.write(ino, new Uint8Array(2048).fill(1), 0, 0)
      disk.crash(new Rng(0, seed, "crash"), { torn: true, nothing: false })
      const { cache } = disk.lookup("/f", "read")
      const ones = cache.bytes.subarray(0, cache.size).reduce((sum, byte) => sum + byte, 0)
      assert.strictEqual(ones % 512, 0)
      kept.add(ones / 512)
    }
    assert.deepStrictEqual([...kept].sort(), [0, 1, 2, 3, 4])
  })
  it("directory changes survive as a prefix, and all of them once a file is synced", () => {
    const outcomes = new Set<string>()
    for (let seed = 0; seed < 100; seed++) {
      const disk = new DiskModel(1 << 20)
      for (const name of ["a", "b", "c"]) disk.open(`/${name}`, "w", 0o666, 0)
      disk.crash(new Rng(0, seed, "crash"), { torn: false, nothing: false })
      outcomes.add(disk.readDirectory("/").join(""))
    }
    assert.deepStrictEqual([...outcomes].sort(), ["", "a", "ab", "abc"])
    const disk = new DiskModel(1 << 20)
    disk.open("/a", "w", 0o666, 0)
    disk.rename("/a", "/b", 0)
    disk.sync(disk.open("/c", "w", 0o666, 0))
    disk.crash(new Rng(0, 1, "crash"), { torn: false, nothing: true })
    assert.deepStrictEqual(disk.readDirectory("/"), ["b", "c"])
  })
  it("a rename without a sync may leave an empty file: the classic mistake is visible", () => {
    const outcomes = new Set<string>()
    for (let seed = 0; seed < 100; seed++) {
      const disk = new DiskModel(1 << 20)
      const old = disk.open("/config", "w", 0o666, 0)
      disk.write(old, bytes("old"), 0, 0)
      disk.sync(old)
      const next = disk.open("/config.tmp", "w", 0o666, 0)
      disk.write(next, bytes("new"), 0, 0)
      disk.rename("/config.tmp", "/config", 0)
      disk.crash(new Rng(0, seed, "crash"), { torn: false, nothing: false })
      outcomes.add(read(disk, "/config"))
    }
    assert.deepStrictEqual([...outcomes].sort(), ["", "new", "old"])
  })
  it("counts space and gives it back", () => {
    const disk = new DiskModel(100)
    const ino = disk.open("/f", "w", 0o666, 0)
    assert.strictEqual(disk.write(ino, new Uint8Array(80), 0, 0), 80)
    assert.strictEqual(disk.write(ino, new Uint8Array(80), 80, 0), 20)
    assert.throws(() => disk.write(ino, new Uint8Array(1), 100, 0), DiskFailure, "ENOSPC")
    assert.strictEqual(disk.write(ino, new Uint8Array(100), 0, 0), 100)
    disk.remove("/f", false)
    assert.strictEqual(disk.used, 0)
  })
  it("a model of durable files agrees over random operations", () => {
    for (let seed = 0; seed < 300; seed++) {
      const rng = new Rng(0, seed, "ops")
      const disk = new DiskModel(1 << 20)
      const durable = new Map<string, string>()
      const cache = new Map<string, string>()
      for (let step = 0; step < 30; step++) {
        const name = `/f${rng.int(3)}`
        const kind = rng.int(4)
        if (kind === 0) {
          const text = `${step}`.repeat(rng.between(1, 5))
          const ino = disk.open(name, "w", 0o666, 0)
          disk.write(ino, bytes(text), 0, 0)
          cache.set(name, text)
        } else if (kind === 1 && cache.has(name)) {
          disk.sync(disk.open(name, "r", 0, 0))
          // Every directory change is durable now; of the other files only what was synced before.
          for (const known of Array.from(durable.keys())) if (!cache.has(known)) durable.delete(known)
          durable.set(name, cache.get(name)!)
        } else if (kind === 2 && cache.has(name)) {
          disk.remove(name, false)
          cache.delete(name)
        } else {
          for (const [known, text] of cache) assert.strictEqual(read(disk, known), text)
        }
      }
      for (const [known, text] of durable) {
        if (!cache.has(known)) continue
        const found = disk.durableFile(known)
        // Written again after its last sync, the file on disk is still the old inode's content or the truncated new one.
        if (cache.get(known) === text) assert.strictEqual(new TextDecoder().decode(found), text)
      }
    }
  })
})

describe("SimDisk", () => {
  const write = (path: string, size = 10) =>
    Effect.scoped(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const file = yield* fs.open(path, { flag: "a" })
      yield* file.writeAll(new Uint8Array(size))
      yield* file.sync
    }))
  const codes = (exit: Exit.Exit<unknown, unknown>) =>
    Exit.isFailure(exit)
      ? exit.cause.reasons.map((reason) =>
        reason._tag === "Fail"
          ? (reason.error as { reason: { cause: { code: string } } }).reason.cause.code
          : reason._tag
      ).join()
      : "done"
  const under = (plan: ReadonlyArray<Nemesis.Fault>, size = 10) => {
    const seen: Array<string> = []
    let took = 0
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("box")
        yield* Effect.sleep(5)
        for (let i = 0; i < 20; i++) {
          seen.push(
            codes(
              yield* Effect.exit(Effect.catchTag(host.run(write("/log", size)), "HostDown", () => Effect.succeed(0)))
            )
          )
        }
        took = sim.now
        yield* sim.calm
        sim.always(codes(yield* Effect.exit(host.run(write("/log")))) === "done", "works in the calm")
      }), { plan })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    return { seen, took, result }
  }
  it("without faults everything works, quickly", () => {
    const { seen, took } = under([])
    assert.isTrue(seen.every((code) => code === "done"))
    assert.isBelow(took, 300)
  })
  it("slowDisk and freezeDisk take time", () => {
    assert.isAbove(under([fault("slowDisk", 0, { for: 60_000, level: 100 })]).took, 1000)
    assert.isAbove(under([fault("freezeDisk", 20, { for: 5000 })]).took, 5000)
  })
  it("fullDisk refuses writes with ENOSPC and recovers", () => {
    const { seen } = under([fault("fullDisk", 20, { for: 10_000 })])
    assert.include(seen, "ENOSPC")
    assert.include(seen, "done")
  })
  it("diskError fails the nth operation", () => {
    for (const level of [1, 2, 3, 7]) {
      const { seen } = under([fault("diskError", 0, { level })])
      assert.strictEqual(seen.filter((code) => code === "EIO").length, 1)
    }
  })
  it("syncError fails syncs, and what it dropped is not durable later", () => {
    const { seen } = under([fault("syncError", 0, { for: 60_000 })])
    assert.include(seen, "EIO")
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("box")
        host.disk.syncErrorRate = 1
        yield* Effect.exit(host.run(write("/f")))
        host.disk.syncErrorRate = 0
        yield* host.run(Effect.scoped(Effect.flatMap(
          Effect.flatMap(FileSystem.FileSystem, (fs) => fs.open("/f", { flag: "r+" })),
          (file) => file.sync
        )))
        sim.always(host.disk.model.durableFile("/f")?.length === 0, "the second sync did not bring it back")
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("corruptRead flips a bit", () => {
    let flipped = 0
    run((sim) =>
      sim.host("box").run(Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fs.writeFile("/f", new Uint8Array(100))
        for (let i = 0; i < 50; i++) if ((yield* fs.readFile("/f")).some((byte) => byte !== 0)) flipped++
      })), { plan: [fault("corruptRead", 0, { for: 60_000 })] })
    assert.isAbove(flipped, 2)
    assert.isBelow(flipped, 30)
  })
  it("crashAtOperation takes the machine down in the middle of one", () => {
    const { result } = under([fault("crashAtOperation", 0, { level: 5, for: 50 })])
    assert.isTrue(result.events.some((event) => event.name === "power.lost"))
  })
  it("a wiped machine comes back empty", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("box")
        yield* host.run(write("/log"))
        host.kill({ power: true, wipe: true })
        host.reboot()
        const names = yield* host.run(FileSystem.FileSystem.use((fs) => fs.readDirectory("/")))
        sim.always(names.length === 0, "empty")
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("carries Effect's key-value store", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("box", KeyValueStore.layerFileSystem("/kv"))
        yield* host.run(KeyValueStore.KeyValueStore.use((store) => store.set("a", "1")))
        host.kill()
        host.reboot()
        const value = yield* host.run(KeyValueStore.KeyValueStore.use((store) => store.get("a")))
        sim.always(value === "1", "kept through a kill")
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("watchers are told in order, each change once, and nothing after they stopped or died", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const seen: Array<string> = []
      const result = run((sim) =>
        Effect.gen(function*() {
          const host = sim.host("box")
          yield* host.run(Effect.gen(function*() {
            const fs = yield* FileSystem.FileSystem
            yield* fs.makeDirectory("/in/deep", { recursive: true })
            const watching = yield* Effect.forkChild(
              fs.watch("/in", { recursive: true }).pipe(
                Stream.runForEach((event) => Effect.sync(() => seen.push(`${event._tag} ${event.path}`)))
              )
            )
            yield* Effect.sleep(10)
            yield* fs.writeFileString("/in/a", "x")
            yield* fs.writeFileString("/elsewhere", "x")
            yield* Effect.sleep(10)
            yield* fs.rename("/in/a", "/in/deep/b")
            yield* Effect.sleep(10)
            yield* fs.remove("/in/deep/b")
            yield* Effect.sleep(10)
            yield* Fiber.interrupt(watching)
            yield* fs.writeFileString("/in/late", "x")
            const error = yield* Effect.flip(Stream.runDrain(fs.watch("/none")))
            sim.always(error.reason._tag === "NotFound", "a path that does not exist is refused")
          }))
        }), { seed })
      assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
      assert.deepStrictEqual(seen, ["Create a", "Update a", "Remove a", "Create deep/b", "Remove deep/b"])
    }
  })
})
