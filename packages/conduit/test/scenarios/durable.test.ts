/** Conduits that survive their process: stores, restarts, and real processes that are killed. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type ChildProcess, fork } from "node:child_process"
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ConduitStore, DurableConduit, MemoryLink, type StableConduit } from "../../src/index.ts"
import { FileStore } from "../../src/node.ts"
import * as SqliteStore from "../../src/stores/SqliteStore.ts"
import { FaultLink } from "../../src/testing/index.ts"
import { seeded, text, utf8 } from "../support.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "conduit-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const stores: Record<
  string,
  (path: string) => Effect.Effect<ConduitStore.ConduitStore, ConduitStore.StoreError, Scope.Scope>
> = {
  file: (path) => FileStore.make({ folder: join(path, "files"), compactBytes: 2000 }),
  sqlite: (path) => SqliteStore.make({ path: join(path, "store.db") })
}

describe.each(Object.keys(stores))("store: %s", (name) => {
  const make = stores[name]!
  it.live("remembers exactly what was written, over reopening, against a model", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const model = ConduitStore.memory()
      for (let seed = 0; seed < 10; seed++) {
        const random = seeded(seed)
        const id = `a/${seed}`
        let next = seed % 2 === 0 ? 0 : 4294967290
        let first = next
        yield* Effect.scoped(Effect.gen(function*() {
          const store = yield* make(path)
          if (next !== 0) {
            const start = [{ _tag: "Trimmed", seq: next - 1 }, {
              _tag: "Appended",
              seq: next,
              item: utf8("0")
            }] as const
            yield* store.write(id, start)
            yield* model.write(id, start)
            next = (next + 1) >>> 0
          }
          for (let step = 0; step < 60; step++) {
            const changes: Array<ConduitStore.Change> = []
            for (let i = random.below(4); i >= 0; i--) {
              const kind = random.below(5)
              if (kind <= 1) {
                changes.push({ _tag: "Appended", seq: next, item: random.bytes(random.below(40)) })
                next = (next + 1) >>> 0
              } else if (kind === 2 && first !== next) {
                const span = (next - first) >>> 0
                const seq = (first + random.below(span)) >>> 0
                changes.push({ _tag: "Trimmed", seq })
                first = (seq + 1) >>> 0
              } else if (kind === 3) changes.push({ _tag: "Delivered", seq: random.below(1000) })
              else changes.push({ _tag: "Keys", keys: [random.bytes(16), random.bytes(16)] })
            }
            yield* store.write(id, changes)
            yield* model.write(id, changes)
          }
        }))
        const again = yield* Effect.scoped(Effect.flatMap(make(path), (store) => store.load(id)))
        const expected = yield* model.load(id)
        const plain = (remembered: ConduitStore.Remembered | undefined) =>
          remembered && {
            ...remembered,
            keys: remembered.keys.map((key) => [...key]),
            items: remembered.items.map(({ item, seq }) => ({ seq, item: [...item] }))
          }
        assert.deepStrictEqual(plain(again), plain(expected))
      }
      const store = yield* make(path)
      assert.strictEqual((yield* store.list).length, 10)
      yield* store.remove("a/3")
      assert.strictEqual((yield* store.list).length, 9)
      assert.isUndefined(yield* store.load("a/3"))
      assert.isUndefined(yield* store.load("never"))
    }))
  it.live("a place that cannot be opened is a typed error", () =>
    Effect.gen(function*() {
      const path = yield* folder
      writeFileSync(join(path, "files"), "in the way")
      mkdirSync(join(path, "store.db"))
      assert.strictEqual((yield* Effect.flip(make(path))).operation, "open")
    }))
})

/** A store that fails from when its disk is full. */
const breakable = () => {
  const inner = ConduitStore.memory()
  const disk = { isFull: false }
  const store: ConduitStore.ConduitStore = {
    ...inner,
    write: (id, changes) =>
      disk.isFull
        ? Effect.fail(new ConduitStore.StoreError({ operation: "write", cause: "disk full" }))
        : inner.write(id, changes)
  }
  return { disk, store }
}

describe("file store", () => {
  it.live("a torn tail is dropped, whatever its length; what was acknowledged stays", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const file = join(path, "x.log")
      let kept = 0
      yield* Effect.scoped(Effect.flatMap(FileStore.make({ folder: path }), (store) =>
        Effect.gen(function*() {
          yield* store.write("x", [{ _tag: "Appended", seq: 0, item: utf8("kept") }])
          kept = statSync(file).size
          yield* store.write("x", [{ _tag: "Appended", seq: 1, item: utf8("torn") }])
        })))
      const whole = readFileSync(file)
      for (let cut = 1; cut <= whole.length - kept; cut++) {
        writeFileSync(file, whole.subarray(0, whole.length - cut))
        const store = yield* FileStore.make({ folder: path })
        assert.deepStrictEqual((yield* store.load("x"))?.items.map(({ item }) => text(item)), ["kept"])
      }
      writeFileSync(file, whole.subarray(0, whole.length - 3))
      yield* Effect.scoped(Effect.flatMap(FileStore.make({ folder: path }), (store) =>
        store.write("x", [{ _tag: "Appended", seq: 1, item: utf8("again") }])))
      appendFileSync(file, Buffer.from("ffffffff", "hex"))
      const store = yield* FileStore.make({ folder: path })
      assert.deepStrictEqual(
        (yield* store.load("x"))?.items.map(({ item }) =>
          text(item)
        ),
        ["kept", "again"]
      )
      assert.strictEqual(statSync(file).mode & 0o077, 0)
    }))

  it.live("a hole of zeros at the end is a torn tail too; a file that is no log is an error, not an empty store", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const file = join(path, "x.log")
      yield* Effect.scoped(
        Effect.flatMap(
          FileStore.make({ folder: path }),
          (store) => store.write("x", [{ _tag: "Appended", seq: 0, item: utf8("kept") }])
        )
      )
      appendFileSync(file, Buffer.alloc(512))
      const store = yield* FileStore.make({ folder: path })
      assert.deepStrictEqual((yield* store.load("x"))?.items.map(({ item }) => text(item)), ["kept"])
      writeFileSync(file, "something else")
      const other = yield* FileStore.make({ folder: path })
      assert.strictEqual((yield* Effect.flip(other.load("x"))).operation, "load")
      assert.strictEqual((yield* Effect.flip(other.write("x", [{ _tag: "Delivered", seq: 1 }]))).operation, "write")
      assert.strictEqual(readFileSync(file, "utf8"), "something else")
    }))
})

/** Two durable ends in one process, each of which can be stopped as a crash would: nothing is said, memory is gone. */
const world = Effect.gen(function*() {
  const { listener, source } = yield* MemoryLink.make()
  const fault = yield* FaultLink.make(source)
  const [clientStore, hubStore] = [ConduitStore.memory(), ConduitStore.memory()]
  const accepted = yield* Queue.unbounded<StableConduit.StableConduit>()
  const startHub = (resumeAfter?: number) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const hub = yield* DurableConduit.hub({
        store: hubStore,
        keepalive: false,
        resumeAfter: () => Effect.succeed(resumeAfter),
        onConduit: (conduit) => Effect.andThen(Queue.offer(accepted, conduit), conduit.ended)
      }).pipe(Scope.provide(scope))
      yield* hub.serve(listener)
      return { hub, crash: Scope.close(scope, Exit.void) }
    })
  const startClient = (resumeAfter?: number) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const conduit = yield* DurableConduit.dial(fault.source, {
        store: clientStore,
        id: "client",
        keepalive: false,
        background: true,
        resumeAfter
      }).pipe(Scope.provide(scope))
      return { conduit, crash: Scope.close(scope, Exit.void) }
    })
  return { fault, clientStore, hubStore, accepted: Queue.take(accepted), startHub, startClient }
})

describe("durable conduits", () => {
  it.effect("[server-restart] with a store the hub comes back, and nothing is lost or repeated", () =>
    Effect.gen(function*() {
      const { accepted, startClient, startHub } = yield* world
      const first = yield* startHub()
      const { conduit: client } = yield* startClient()
      const before = yield* accepted
      yield* client.sendAll(["a", "b", "c"].map(utf8))
      assert.strictEqual(text(yield* before.take), "a")
      yield* before.send(utf8("from the first life"))
      yield* TestClock.adjust("1 second")
      yield* first.crash
      yield* client.send(utf8("d"))
      yield* startHub()
      const after = yield* accepted
      const taking = yield* Effect.forkChild(Stream.runCollect(Stream.take(after.receive, 3)), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual((yield* Fiber.join(taking)).map(text), ["b", "c", "d"])
      assert.strictEqual(text(yield* client.take), "from the first life")
      yield* after.send(utf8("from the second"))
      assert.strictEqual(text(yield* client.take), "from the second")
    }))

  it.effect("a client that restarts presents its key and goes on", () =>
    Effect.gen(function*() {
      const { accepted, startClient, startHub } = yield* world
      yield* startHub()
      const first = yield* startClient()
      const server = yield* accepted
      yield* first.conduit.send(utf8("one"))
      yield* server.send(utf8("uno"))
      assert.strictEqual(text(yield* server.take), "one")
      yield* first.crash
      const second = yield* startClient()
      yield* second.conduit.send(utf8("two"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(text(yield* server.take), "two")
      assert.strictEqual(text(yield* second.conduit.take), "uno")
      yield* second.conduit.close({ drain: "1 second" }).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* server.ended).reason._tag, "PeerClosed")
    }))

  it.effect("close forgets the conduit at both ends", () =>
    Effect.gen(function*() {
      const { accepted, clientStore, hubStore, startClient, startHub } = yield* world
      yield* startHub()
      const { conduit } = yield* startClient()
      const server = yield* accepted
      yield* conduit.send(utf8("x"))
      yield* server.take
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([(yield* clientStore.list).length, (yield* hubStore.list).length], [1, 1])
      yield* conduit.close()
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([(yield* clientStore.list).length, (yield* hubStore.list).length], [0, 0])
    }))

  it.effect("an item is not written to a link before it is durable, nor acknowledged before its delivery is", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const inner = ConduitStore.memory()
      const gate = yield* Queue.unbounded<void>()
      let gated = false
      const store: ConduitStore.ConduitStore = {
        ...inner,
        write: (id, changes) => Effect.andThen(gated ? Queue.take(gate) : Effect.void, inner.write(id, changes))
      }
      const accepted = yield* Queue.unbounded<StableConduit.StableConduit>()
      const hub = yield* DurableConduit.hub({
        store: ConduitStore.memory(),
        onConduit: (conduit) => Effect.andThen(Queue.offer(accepted, conduit), conduit.ended)
      })
      yield* hub.serve(listener)
      const client = yield* DurableConduit.dial(source, { store, id: "c" })
      const server = yield* Queue.take(accepted)
      gated = true
      const sending = yield* Effect.forkChild(client.send(utf8("x")), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.isUndefined(sending.pollUnsafe())
      assert.strictEqual((yield* server.metrics).framesReceived, 0)
      yield* Queue.offer(gate, undefined)
      yield* Fiber.join(sending)
      assert.strictEqual(text(yield* server.take), "x")
      yield* Effect.forkChild(Effect.forever(Queue.offer(gate, undefined).pipe(Effect.delay("1 milli"))))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* client.metrics).windowFrames, 0)
    }))

  it.effect("a store that fails ends the conduit with its error, and the failed send is told", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const { disk, store } = breakable()
      const hub = yield* DurableConduit.hub({ store: ConduitStore.memory(), onConduit: (conduit) => conduit.ended })
      yield* hub.serve(listener)
      const client = yield* DurableConduit.dial(source, { store, id: "c" })
      disk.isFull = true
      assert.strictEqual((yield* Effect.flip(client.send(utf8("x")))).reason._tag, "StoreFailed")
      assert.strictEqual((yield* Effect.flip(client.take)).reason._tag, "StoreFailed")
    }))

  it.effect("nothing is taken over the first link before its key is durable, and numbers of a forgotten conduit are ignored", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const inner = ConduitStore.memory()
      const gate = yield* Queue.unbounded<void>()
      const store: ConduitStore.ConduitStore = {
        ...inner,
        write: (id, changes) => Effect.andThen(Queue.take(gate), inner.write(id, changes))
      }
      const hub = yield* DurableConduit.hub({
        store: ConduitStore.memory(),
        onConduit: (conduit) => Effect.andThen(conduit.send(utf8("hello")), conduit.ended)
      })
      yield* hub.serve(listener)
      const client = yield* DurableConduit.dial(source, { store, id: "c", background: true, resumeAfter: 40 })
      const taking = yield* Effect.forkChild(client.take, { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* client.metrics).framesReceived, 1)
      assert.isUndefined(taking.pollUnsafe())
      yield* Queue.offer(gate, undefined)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(text(yield* Fiber.join(taking)), "hello")
    }))

  it.effect("a hub whose store fails does not refuse the peer: the next hub on that store resumes", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const { disk, store } = breakable()
      const accepted = yield* Queue.unbounded<StableConduit.StableConduit>()
      const start = Effect.gen(function*() {
        const scope = yield* Scope.make()
        const hub = yield* DurableConduit.hub({
          store,
          onConduit: (conduit) => Effect.andThen(Queue.offer(accepted, conduit), conduit.ended)
        }).pipe(Scope.provide(scope))
        yield* hub.serve(listener)
        return { hub, stop: Scope.close(scope, Exit.void) }
      })
      const first = yield* start
      const client = yield* DurableConduit.dial(source, { store: ConduitStore.memory(), id: "c" })
      const before = yield* Queue.take(accepted)
      yield* client.sendAll(["a", "b"].map(utf8))
      assert.strictEqual(text(yield* before.take), "a")
      yield* TestClock.adjust("1 second")
      disk.isFull = true
      assert.strictEqual((yield* Effect.flip(before.send(utf8("x")))).reason._tag, "StoreFailed")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* client.currentStatus)._tag, "Reconnecting")
      assert.strictEqual((yield* first.hub.metrics).rejected, 0)
      yield* first.stop
      disk.isFull = false
      yield* start
      const after = yield* Queue.take(accepted)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(text(yield* after.take), "b")
      yield* after.send(utf8("y"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(text(yield* client.take), "y")
    }))

  it.effect.each(Array.from({ length: 40 }, (_, seed) => seed))(
    "both ends crash and cut at random: every item handled once, in order (seed %i)",
    (seed) =>
      Effect.gen(function*() {
        const random = seeded(1000 + seed)
        const { accepted, fault, startClient, startHub } = yield* world
        const count = 60
        const value = (item: Uint8Array) => new DataView(item.buffer, item.byteOffset).getUint32(0)
        const numbered = (n: number) => {
          const item = new Uint8Array(4 + (n % 20))
          new DataView(item.buffer).setUint32(0, n)
          return item
        }
        // What the two applications keep on disk: results with their numbers, and how many items they handed over.
        const disk = [{ handled: [] as Array<[number, number]>, sent: 0 }, {
          handled: [] as Array<[number, number]>,
          sent: 0
        }]
        const talk = (conduit: StableConduit.StableConduit, app: typeof disk[0]) =>
          Effect.all([
            Effect.gen(function*() {
              while (app.sent < count) {
                // Numbering and the application's own count are one step here, as in one transaction.
                const next = app.sent
                yield* conduit.send(numbered(next)).pipe(
                  Effect.andThen(Effect.sync(() => void (app.sent = Math.max(app.sent, next + 1)))),
                  Effect.uninterruptible
                )
                yield* Effect.sleep(random.below(20))
              }
            }),
            conduit.consume((batch) =>
              Effect.gen(function*() {
                yield* Effect.sleep(random.below(5))
                for (let i = 0; i < batch.count; i++) app.handled.push([batch.seq(i), value(batch.at(i))])
              })
            )
          ], { concurrency: "unbounded" }).pipe(Effect.ignore)
        const lastOf = (app: typeof disk[0]) => app.handled.at(-1)?.[0]
        const runHub = Effect.gen(function*() {
          const life = yield* startHub(lastOf(disk[0]!))
          const talking = yield* Effect.forkChild(
            Effect.forever(Effect.flatMap(accepted, (conduit) => talk(conduit, disk[0]!))),
            { startImmediately: true }
          )
          return { crash: Effect.andThen(Fiber.interrupt(talking), life.crash) }
        })
        const runClient = Effect.gen(function*() {
          const life = yield* startClient(lastOf(disk[1]!))
          const talking = yield* Effect.forkChild(talk(life.conduit, disk[1]!), { startImmediately: true })
          return { crash: Effect.andThen(Fiber.interrupt(talking), life.crash) }
        })
        let hub = yield* runHub
        let client = yield* runClient
        for (let step = 0; step < 25; step++) {
          yield* TestClock.adjust(random.below(150))
          switch (random.below(4)) {
            case 0:
              yield* Effect.forkChild(hub.crash, { startImmediately: true })
              yield* TestClock.adjust(20)
              hub = yield* runHub
              break
            case 1:
              yield* Effect.forkChild(client.crash, { startImmediately: true })
              yield* TestClock.adjust(20)
              client = yield* runClient
              break
            default:
              yield* fault.cut
          }
        }
        for (let step = 0; step < 40; step++) yield* TestClock.adjust("1 second")
        const expected = Array.from({ length: count }, (_, i) => i)
        for (const app of disk) assert.deepStrictEqual(app.handled.map(([, n]) => n), expected)
      })
  )
})

describe("real processes", () => {
  const freePort = Effect.callback<number>((resume) => {
    const server = Net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      server.close(() => resume(Effect.succeed(port)))
    })
  })

  it.live("SIGKILL of either end, again and again: every item is handled once, in order", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const port = yield* freePort
      const count = 10_000
      const children = new Map<string, ChildProcess>()
      const errors: Array<string> = []
      const start = (role: string) => {
        const own = join(path, role)
        mkdirSync(own, { recursive: true })
        const child = fork(new URL("../durable-process.ts", import.meta.url).pathname, [
          role,
          own,
          `${port}`,
          `${count}`
        ], {
          execArgv: ["--conditions=@perigee/source", "--disable-warning=ExperimentalWarning"],
          stdio: ["ignore", "ignore", "pipe", "ipc"]
        })
        child.stderr!.on("data", (chunk) => {
          errors.push(String(chunk))
        })
        children.set(role, child)
      }
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          for (const child of children.values()) child.kill("SIGKILL")
        })
      )
      const handled = (role: string): Array<number> => {
        try {
          return readFileSync(join(path, role, "handled.log"), "utf8").split("\n").filter((line) => line.endsWith("."))
            .map((line) => Number(line.slice(0, -1).split(" ")[1]))
        } catch {
          return []
        }
      }
      start("server")
      start("client")
      const random = seeded(5)
      const done = () => handled("server").length >= count && handled("client").length >= count
      let kills = 0
      let last = 0
      while (!done() && errors.length === 0) {
        yield* Effect.sleep(150 + random.below(250))
        const progress = handled("server").length + handled("client").length
        // A process that has not got anywhere yet is not killed again: the test is about crashes, not about starting.
        if (kills < 12 && progress > last + 50 && !done()) {
          last = progress
          const role = random.below(2) === 0 ? "server" : "client"
          const child = children.get(role)!
          yield* Effect.callback<void>((resume) => {
            child.once("exit", () => resume(Effect.void))
            child.kill("SIGKILL")
          })
          kills++
          start(role)
        }
      }
      assert.deepStrictEqual(errors, [])
      assert.isAbove(kills, 3)
      for (const role of ["server", "client"]) {
        const lines = readFileSync(join(path, role, "handled.log"), "utf8").split("\n").filter((line) =>
          line.endsWith(".")
        )
        const seqs = lines.map((line) => Number(line.split(" ")[0]))
        assert.deepStrictEqual(seqs, Array.from({ length: seqs.length }, (_, i) => i), role)
        assert.deepStrictEqual(handled(role), Array.from({ length: count }, (_, i) => i), role)
      }
    }), 120_000)
})
