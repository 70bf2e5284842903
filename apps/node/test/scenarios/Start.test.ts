import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import * as Net from "node:net"
import { join } from "node:path"
import { canMount, remount, tmpfs } from "../../../../packages/bus/test/utils/mounts.ts"
import { perigee, spawnPerigee, startChild } from "../support/ChildNode.ts"
import { scratch, until } from "../support/TestNode.ts"

const start = (dir: string, ...args: ReadonlyArray<string>) =>
  perigee(["start", "--json", "--port", "0", "--state", dir, ...args])

describe("perigee start", { concurrent: true, timeout: 120_000 }, () => {
  it.live("makes its directory, and finds it again with what was in it", () =>
    Effect.gen(function*() {
      const dir = join(yield* scratch, "deep", "state")
      const token = yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* startChild(dir)
        assert.strictEqual(statSync(dir).mode & 0o777, 0o700)
        yield* node.append("1\n2\n")
        node.child.process.kill("SIGTERM")
        const ended = yield* node.child.ended
        assert.deepStrictEqual([ended.code, ended.signal], [0, null])
        assert.isFalse(existsSync(join(dir, "node.json")))
        return node.token
      }))
      const again = yield* startChild(dir)
      assert.strictEqual(again.token, token)
      assert.lengthOf((yield* again.json("/v1/events")).body.events, 2)
    }))

  it.live("refuses a directory that another node has, and says whose it is", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const node = yield* startChild(dir)
      const { code, stderr } = yield* start(dir)
      assert.strictEqual(code, 6)
      assert.include(stderr, `(pid ${node.child.process.pid}, since `)
      assert.match(stderr, /Stop it, or choose --state DIR\. \[E_STATE_LOCKED\]\n$/)
      // It goes on undisturbed, and can still be found.
      yield* node.append("1\n")
      assert.strictEqual((yield* perigee(["status", "--state", dir])).code, 0)
    }))

  it.live("takes over at once from a node that was killed", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* startChild(dir)
        yield* node.append("1\n")
        node.child.process.kill("SIGKILL")
        yield* node.child.ended
      }))
      const status = yield* perigee(["status", "--state", dir])
      assert.strictEqual(status.code, 3)
      assert.include(status.stderr, "[E_UNREACHABLE]")
      const again = yield* startChild(dir)
      assert.lengthOf((yield* again.json("/v1/events")).body.events, 1)
    }))

  it.live("does not open a damaged store, and does not touch it", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const path = join(dir, "events.db")
      writeFileSync(path, "this is no database, but somebody's only copy of something else")
      const { code, stderr } = yield* start(dir)
      assert.strictEqual(code, 6)
      assert.match(stderr, /\[E_STORE_CORRUPT\]\n$/)
      assert.include(readFileSync(path, "utf8"), "somebody's only copy")
    }))

  it.live("does not open a store whose pages are damaged", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* startChild(dir)
        yield* node.append("1\n")
        node.child.process.kill("SIGTERM")
        yield* node.child.ended
      }))
      const path = join(dir, "events.db")
      const bytes = readFileSync(path)
      bytes.fill(0xff, 100, 4096)
      writeFileSync(path, bytes)
      const { code, stderr } = yield* start(dir)
      assert.strictEqual(code, 6)
      assert.match(stderr, /\[E_STORE_CORRUPT\]\n$/)
    }))

  it.live("does not start where its directory cannot be", () =>
    Effect.gen(function*() {
      const file = join(yield* scratch, "file")
      writeFileSync(file, "")
      const { code, stderr } = yield* start(file)
      assert.strictEqual(code, 6)
      assert.match(stderr, /is not a directory.*\[E_STATE_NOT_A_DIRECTORY\]/)
      const below = yield* start(join(file, "below"))
      assert.deepStrictEqual([below.code, below.stderr.includes("[E_STATE_NOT_A_DIRECTORY]")], [6, true])
    }))

  it.live.skipIf(!canMount)("does not start on a read-only file system", () =>
    Effect.gen(function*() {
      const dir = yield* tmpfs(8192)
      yield* remount(dir, "ro")
      const fresh = yield* start(join(dir, "state"))
      assert.strictEqual(fresh.code, 6)
      assert.include(fresh.stderr, "[E_STATE_READ_ONLY]")
      yield* remount(dir, "rw")
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* startChild(dir)
        yield* node.append("1\n")
        node.child.process.kill("SIGTERM")
        yield* node.child.ended
      }))
      yield* remount(dir, "ro")
      const known = yield* start(dir)
      assert.strictEqual(known.code, 6)
      assert.include(known.stderr, "[E_STATE_READ_ONLY]")
    }))

  it.live.skipIf(!canMount)(
    "says when the disk is full, keeps what it answered for, and goes on when there is room again",
    () =>
      Effect.gen(function*() {
        const dir = yield* tmpfs(6 * 1024)
        const node = yield* startChild(dir, ["--shards", "1"])
        const line = (i: number) => `{"i":${i},"text":"${"x".repeat(1000)}"}\n`
        let stored = 0
        let refusal: any
        while (refusal === undefined && stored < 20_000) {
          const lines = Array.from({ length: 200 }, (_, i) => line(stored + i)).join("")
          const { body, status } = yield* node.append(lines, `?producer=p&sequence=${stored + 1}&key=k`)
          if (status === 200) stored += body.durable
          else refusal = { status, ...body }
        }
        assert.deepInclude(refusal, { status: 507, code: "E_STORE_FULL" })
        yield* remount(dir, "size=64m")
        const lines = Array.from({ length: 200 }, (_, i) => line(stored + i)).join("")
        yield* until(
          () =>
            Effect.runPromise(
              Effect.map(node.append(lines, `?producer=p&sequence=${stored + 1}&key=k`), ({ status }) => status === 200)
            ),
          "there is room again",
          20_000
        )
        const found: Array<number> = []
        let cursor = ""
        while (true) {
          const { body } = yield* node.json(`/v1/events?limit=10000${cursor}`)
          found.push(...body.events.map((event: any) => event.raw.i))
          if (!body.has_more) break
          cursor = `&cursor=${encodeURIComponent(body.next_cursor)}`
        }
        assert.deepStrictEqual(found, Array.from({ length: stored + 200 }, (_, i) => i))
      }),
    120_000
  )

  it.live("says that a port is taken, or takes the next one when nobody asked for it", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const taken = yield* Effect.acquireRelease(
        Effect.callback<Net.Server>((resume) => {
          const server = Net.createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const { port } = taken.address() as Net.AddressInfo
      const { code, stderr } = yield* perigee(["start", "--json", "--port", String(port), "--state", dir])
      assert.strictEqual(code, 6)
      assert.match(stderr, new RegExp(`Port ${port} of 127\\.0\\.0\\.1 is taken\\..*\\[E_PORT_IN_USE\\]`))

      const first = yield* spawnPerigee(["start", "--json", "--state", join(dir, "a")])
      const second = yield* spawnPerigee(["start", "--json", "--state", join(dir, "b")])
      yield* until(() => first.stdout().includes("\n") && second.stdout().includes("\n"), "both serve")
      const ports = [first, second].map((child) => Number(new URL(JSON.parse(child.stdout()).url).port))
      assert.isTrue(ports.every((chosen) => chosen >= 7700 && chosen < 7800), ports.join())
      assert.notStrictEqual(ports[0], ports[1])
    }))

  it.live("listens beyond this machine only with TLS or when told that it may", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const refused = yield* start(dir, "--host", "0.0.0.0")
      assert.strictEqual(refused.code, 2)
      assert.include(refused.stderr, "[E_INSECURE]")
      assert.isFalse(existsSync(join(dir, "events.db")))
      const half = yield* start(dir, "--tls-cert", "x.pem")
      assert.deepStrictEqual([half.code, half.stderr.includes("[E_TLS]")], [2, true])
      const missing = yield* start(dir, "--tls-cert", join(dir, "x.pem"), "--tls-key", join(dir, "y.pem"))
      assert.deepStrictEqual([missing.code, missing.stderr.includes("[E_TLS]")], [6, true])
      const node = yield* startChild(dir, ["--host", "0.0.0.0", "--insecure"])
      assert.strictEqual((yield* node.json("/livez")).status, 200)
    }))

  it.live("names what is wrong with a flag", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      for (const args of [["--port", "70000"], ["--shards", "0"], ["--shards", "65536"], ["--port", "x"], ["--nope"]]) {
        const { code, stderr, stdout } = yield* perigee(["start", "--state", dir, ...args])
        assert.strictEqual(code, 2, args.join(" "))
        assert.include(stderr, "[E_USAGE]")
        assert.strictEqual(stdout, "")
      }
      const limit = yield* perigee(["start", "--state", dir], { env: { PERIGEE_MAX_EVENT_BYTES: "many" } })
      assert.strictEqual(limit.code, 2)
      assert.include(limit.stderr, "[E_CONFIG]")
    }))

  it.live("does not start when something else is where its store should be", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      mkdirSync(join(dir, "events.db"))
      const { code } = yield* start(dir)
      assert.strictEqual(code, 6)
    }))
})
