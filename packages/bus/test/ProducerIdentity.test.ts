import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as ProducerIdentity from "../src/ProducerIdentity.ts"
import { canMount, remount, tmpfs } from "./utils/mounts.ts"
import { directory } from "./utils/places.ts"
import { Prng } from "./utils/prng.ts"

const nonceFile = Effect.map(directory, (path) => join(path, "nonce"))

const bytesOf = (version: number, nonce: bigint): Uint8Array => {
  const bytes = new Uint8Array(9)
  bytes[0] = version
  new DataView(bytes.buffer).setBigUint64(1, nonce, true)
  return bytes
}

describe("nonce", () => {
  it.live("N01 N02 N03 N09 is not zero, stays, differs between files, and takes nine private bytes", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      const first = yield* ProducerIdentity.nonce(path)
      assert.isTrue(first > 0n && first < 1n << 64n)
      assert.strictEqual(yield* ProducerIdentity.nonce(path), first)
      assert.notStrictEqual(yield* ProducerIdentity.nonce(yield* nonceFile), first)
      const bytes = readFileSync(path)
      assert.deepStrictEqual([bytes.length, bytes[0]], [9, 1])
      assert.strictEqual(bytes.readBigUInt64LE(1), first)
      assert.strictEqual(statSync(path).mode & 0o777, 0o600)
      assert.deepStrictEqual(readdirSync(join(path, "..")), ["nonce"])
    }))

  it.live("N04 32 in a row are all distinct", () =>
    Effect.gen(function*() {
      const place = yield* directory
      const nonces = yield* Effect.forEach(Array.from({ length: 32 }, (_, i) => i), (i) =>
        ProducerIdentity.nonce(join(place, String(i))))
      const ephemeral = yield* Effect.replicateEffect(ProducerIdentity.ephemeral, 32)
      assert.strictEqual(
        new Set([
          ...nonces,
          ...ephemeral.map(({ nonce }) =>
            nonce
          )
        ]).size,
        64
      )
    }))

  it.live("N05 N06 N08 other lengths and versions are invalid data, named with their file", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      const cases = [
        [new Uint8Array(7), "length 7, expected 9"],
        [new Uint8Array(8), "length 8, expected 9"],
        [new Uint8Array(0), "length 0, expected 9"],
        [new Uint8Array(1000), "length more than 9, expected 9"],
        [bytesOf(0xff, 5n), "version 0xff, expected 0x01"],
        [bytesOf(0, 5n), "version 0x00, expected 0x01"]
      ] as const
      for (const [bytes, text] of cases) {
        writeFileSync(path, bytes)
        const error = yield* Effect.flip(ProducerIdentity.nonce(path))
        assert.strictEqual(error.reason._tag, "Invalid")
        assert.strictEqual(error.message, `${path}: invalid data: a nonce file of ${text}`)
        assert.strictEqual((yield* Effect.flip(Effect.scoped(ProducerIdentity.file(path)))).message, error.message)
      }
    }))

  it.live("N07 V12 version 1 and a little-endian number is that number, 0 is 1", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      for (
        const [stored, nonce] of [[0x0123456789abcdefn, 0x0123456789abcdefn], [
          0xffffffffffffffffn,
          0xffffffffffffffffn
        ], [0n, 1n]] as const
      ) {
        writeFileSync(path, bytesOf(1, stored))
        assert.strictEqual(yield* ProducerIdentity.nonce(path), nonce)
      }
    }))

  it.live("N10 a missing directory is an Io failure that names the file", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "none", "nonce")
      for (
        const error of [
          yield* Effect.flip(ProducerIdentity.nonce(path)),
          yield* Effect.flip(Effect.scoped(ProducerIdentity.file(path)))
        ]
      ) {
        assert.strictEqual(error.reason._tag, "Io")
        assert.include(error.message, path)
      }
    }))

  it.live("N11 16 first loads at once agree", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      const nonces = yield* Effect.all(Array.from({ length: 16 }, () => ProducerIdentity.nonce(path)), {
        concurrency: "unbounded"
      })
      assert.strictEqual(new Set(nonces).size, 1)
      assert.strictEqual(statSync(path).size, 9)
      assert.strictEqual(yield* ProducerIdentity.nonce(path), nonces[0])
      assert.deepStrictEqual(readdirSync(join(path, "..")), ["nonce"])
    }))
})

describe("ephemeral", () => {
  it.effect("starts at 0 and reserves nothing", () =>
    Effect.gen(function*() {
      const identity = yield* ProducerIdentity.ephemeral
      yield* identity.reserve(3, 1_000_000)
      yield* identity.release(new Map([[3, 5]]))
      assert.strictEqual(identity.start(3), 0)
    }))
})

describe("file", () => {
  it.live("a fresh pair starts at 0, with private files", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      const { nonce, start } = yield* ProducerIdentity.file(path)
      assert.strictEqual(nonce, yield* ProducerIdentity.nonce(path))
      assert.strictEqual(start(0), 0)
      assert.strictEqual(statSync(`${path}.marks`).mode & 0o777, 0o600)
      assert.deepStrictEqual(readdirSync(join(path, "..")).sort(), ["nonce", "nonce.lock", "nonce.marks"])
    }))

  it.live("B21 a clean close goes on exactly where it was, under the same nonce", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      const first = yield* Effect.scoped(Effect.gen(function*() {
        const identity = yield* ProducerIdentity.file(path, { blockSize: 100 })
        yield* identity.reserve(0, 42)
        yield* identity.reserve(7, 10)
        yield* identity.release(new Map([[0, 42], [7, 10]]))
        return identity.nonce
      }))
      const again = yield* ProducerIdentity.file(path)
      assert.deepStrictEqual([again.nonce, again.start(0), again.start(7), again.start(1)], [first, 42, 10, 0])
    }))

  it.live("without a clean close it skips what was reserved, and reuses nothing", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      yield* Effect.scoped(Effect.gen(function*() {
        const identity = yield* ProducerIdentity.file(path, { blockSize: 100 })
        yield* identity.reserve(0, 42)
        const written = statSync(`${path}.marks`).ino
        yield* identity.reserve(0, 141)
        assert.strictEqual(statSync(`${path}.marks`).ino, written, "what is reserved needs no write")
        yield* identity.reserve(0, 142)
        assert.notStrictEqual(statSync(`${path}.marks`).ino, written)
      }))
      const second = yield* Effect.scoped(ProducerIdentity.file(path))
      assert.strictEqual(second.start(0), 241)
    }))

  it.live("reservations of many shards at once are all kept", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      const shards = Array.from({ length: 64 }, (_, shard) => shard)
      yield* Effect.scoped(Effect.gen(function*() {
        const identity = yield* ProducerIdentity.file(path, { blockSize: 10 })
        yield* Effect.forEach(shards, (shard) => identity.reserve(shard, shard + 1), { concurrency: "unbounded" })
      }))
      const { start } = yield* ProducerIdentity.file(path)
      for (const shard of shards) assert.isAtLeast(start(shard), shard + 1)
    }))

  it.live("a reservation that fails is made again by whoever waited for it", () =>
    Effect.gen(function*() {
      const place = yield* directory
      const path = join(place, "nonce")
      const identity = yield* ProducerIdentity.file(path, { blockSize: 10 })
      // A directory in the way of the marks: replacing them fails until it is gone.
      unlinkSync(`${path}.marks`)
      mkdirSync(join(`${path}.marks`, "in the way"), { recursive: true })
      const shards = [0, 1, 2]
      const failures = yield* Effect.forEach(shards, (shard) => Effect.flip(identity.reserve(shard, 5)), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(failures.map(({ reason }) => reason._tag), ["Io", "Io", "Io"])
      rmSync(`${path}.marks`, { recursive: true })
      yield* identity.reserve(2, 5)
      const { next } = JSON.parse(readFileSync(`${path}.marks`, "utf8")) as { next: Record<string, number> }
      assert.strictEqual(next["2"], 14)
    }))

  it.live("an interrupted reservation may be made again", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      yield* Effect.scoped(Effect.gen(function*() {
        const identity = yield* ProducerIdentity.file(path, { blockSize: 10 })
        for (let i = 1; i < 20; i++) {
          const reserving = yield* Effect.forkChild(identity.reserve(0, i * 100), { startImmediately: true })
          yield* Fiber.interrupt(reserving)
          yield* identity.reserve(0, i * 100)
        }
      }))
      assert.isAtLeast((yield* ProducerIdentity.file(path)).start(0), 1900)
    }))

  it.live("the safe integers run out with an error, not with a repeat", () =>
    Effect.gen(function*() {
      const identity = yield* ProducerIdentity.file(yield* nonceFile)
      yield* identity.reserve(0, Number.MAX_SAFE_INTEGER)
      const error = yield* Effect.flip(identity.reserve(0, Number.MAX_SAFE_INTEGER + 1))
      assert.deepStrictEqual(error.reason, { _tag: "Exhausted", shard: 0 })
    }))

  it.live("a second live owner is refused, in this process and in another", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      const scope = yield* Scope.make()
      yield* Scope.provide(ProducerIdentity.file(path), scope)
      const error = yield* Effect.flip(Effect.scoped(ProducerIdentity.file(path)))
      assert.strictEqual(error.reason._tag === "Held" ? error.reason.pid : 0, process.pid)
      assert.match(error.message, new RegExp(`the producer identity ${path} is in use \\(pid ${process.pid}, since `))
      yield* Scope.close(scope, Exit.void)
      yield* Effect.scoped(ProducerIdentity.file(path))
    }))

  it.live("marks that are missing, damaged or of another nonce are refused", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      const opening = Effect.flip(Effect.scoped(ProducerIdentity.file(path)))
      const { nonce } = yield* Effect.scoped(ProducerIdentity.file(path))
      const whole = readFileSync(`${path}.marks`, "utf8")
      const hex = nonce.toString(16)
      const cases = [
        ["", "not JSON"],
        [whole.slice(0, -3), "not JSON"],
        ["null", "version undefined"],
        ["{\"version\":2}", "version 2"],
        ["{\"version\":1,\"nonce\":5,\"next\":{}}", "without a nonce"],
        [`{"version":1,"nonce":"${hex}","next":null}`, "without marks"],
        [`{"version":1,"nonce":"${hex}","next":{"0":-1}}`, "unusable mark for shard \"0\""],
        [`{"version":1,"nonce":"${hex}","next":{"65535":1}}`, "unusable mark for shard \"65535\""],
        [`{"version":1,"nonce":"${hex}","next":{"__proto__":1}}`, "unusable mark"],
        [`{"version":1,"nonce":"${(nonce ^ 1n).toString(16)}","next":{}}`, "another nonce"],
        [" ".repeat(4_194_305), "more than 4194304 bytes"]
      ] as const
      for (const [text, problem] of cases) {
        writeFileSync(`${path}.marks`, text)
        const error = yield* opening
        assert.strictEqual(error.reason._tag, "Invalid", text.slice(0, 50))
        assert.include(error.message, `${path}.marks: invalid data`)
        assert.include(error.message, problem)
      }
      unlinkSync(`${path}.marks`)
      const missing = yield* opening
      assert.deepStrictEqual(missing.reason, { _tag: "Incomplete", nonceFile: path })
      assert.include(missing.message, "remove the nonce file too to start as a new producer")
      unlinkSync(path)
      yield* Effect.scoped(ProducerIdentity.file(path))
    }))

  it.live.skipIf(!canMount)(
    `a file system that turns read-only fails a reservation${
      canMount ? "" : " (skipped: needs the right to mount a file system)"
    }`,
    () =>
      Effect.gen(function*() {
        const place = yield* tmpfs(1024)
        const path = join(place, "nonce")
        const scope = yield* Scope.make()
        yield* Scope.provide(ProducerIdentity.file(path, { blockSize: 10 }), scope)
        yield* Scope.close(scope, Exit.void)
        yield* remount(place, "ro")
        const error = yield* Effect.flip(Effect.scoped(ProducerIdentity.file(path)))
        assert.strictEqual(error.reason._tag, "Io")
      })
  )

  it.live("killed at random moments, it never hands out a number twice", () =>
    Effect.gen(function*() {
      const path = yield* nonceFile
      const random = new Prng(3)
      const source = new URL("../src/ProducerIdentity.ts", import.meta.url).href
      const program = `
        import * as Effect from "effect/Effect"
        import { writeSync } from "node:fs"
        const { file } = await import(${JSON.stringify(source)})
        await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
          const identity = yield* file(${JSON.stringify(path)}, { blockSize: 5 })
          for (let n = identity.start(0);; n++) {
            yield* identity.reserve(0, n + 1)
            writeSync(1, n + "\\n")
          }
        })))`
      let highest = -1
      for (let kill = 0; kill < 6; kill++) {
        const used = yield* Effect.promise(async () => {
          const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
            cwd: import.meta.dirname,
            stdio: ["ignore", "pipe", "inherit"]
          })
          const said: Array<Buffer> = []
          child.stdout.on("data", (bytes: Buffer) => {
            said.push(bytes)
            // On its own output, after a number of lines that differs.
            if (random.chance(0.2)) child.kill("SIGKILL")
          })
          await once(child, "close")
          return Buffer.concat(said).toString().split("\n").slice(0, -1).map(Number)
        })
        assert.isAbove(used[0]!, highest, `kill ${kill}`)
        assert.deepStrictEqual(used, Array.from(used, (_, i) => used[0]! + i))
        highest = used.at(-1)!
      }
    }))
})
