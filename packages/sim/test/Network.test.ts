import { assert, describe, it } from "@effect/vitest"
import { CurrentHost, layerServer, type Nemesis, type Sim } from "@perigee/sim"
import { Cause, Effect, Exit, Fiber, Layer } from "effect"
import { type Socket, SocketServer } from "effect/socket"
import { fault, lan, random, run } from "./fixtures/run.ts"

const text = (chunks: ReadonlyArray<string | Uint8Array>) =>
  chunks.map((chunk) => typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk)).join("")

const echo = Layer.effectDiscard(Effect.gen(function*() {
  const server = yield* SocketServer.SocketServer
  yield* Effect.forkScoped(server.run((socket) =>
    Effect.gen(function*() {
      const { pull } = yield* socket.reader
      const writer = yield* socket.writer
      while (true) yield* writer.writeAll(yield* pull)
    }).pipe(Effect.scoped, Effect.catchTag("SocketError", () => Effect.void))
  ))
})).pipe(Layer.provide(layerServer(7)))

/** Opens a connection to an echo server and hands over reader and writer. */
const dialled = <A, E>(
  sim: Sim,
  use: (connection: { readonly pull: Socket.Reader["pull"]; readonly writer: Socket.Writer }) => Effect.Effect<A, E>
) =>
  Effect.scoped(Effect.gen(function*() {
    if (!sim.hosts.some((host) => host.name === "srv")) sim.host("srv", echo)
    const { socket } = yield* CurrentHost
    const connection = socket("srv:7")
    const { pull } = yield* connection.reader
    const writer = yield* connection.writer
    return yield* use({ pull, writer })
  }))

/** Sends a number every 10 ms and collects when each came back. */
const pings = (sim: Sim, count: number) => {
  const back: Array<{ readonly at: number; readonly text: string }> = []
  const errors: Array<string> = []
  const chat = dialled(sim, ({ pull, writer }) =>
    Effect.gen(function*() {
      const reader = yield* Effect.forkChild(Effect.forever(Effect.map(pull, (chunks) => {
        back.push({ at: sim.now, text: text(chunks) })
      })))
      for (let i = 0; i < count; i++) {
        yield* writer.write(`${String(i).padStart(4, "0")};`)
        yield* Effect.sleep(10)
      }
      yield* Effect.sleep(5000)
      yield* Fiber.interrupt(reader)
      if (reader.pollUnsafe() !== undefined) {
        const exit = yield* Fiber.await(reader)
        if (Exit.isFailure(exit)) {
          for (const reason of exit.cause.reasons) {
            if (reason._tag === "Fail") errors.push(reason.error.reason._tag)
          }
        }
      }
    }))
  return { back, errors, chat }
}

const during = (plan: ReadonlyArray<Nemesis.Fault>, count = 50, seed = 1) => {
  let probe: ReturnType<typeof pings> | undefined
  let error: unknown
  const result = run((sim) => {
    probe = pings(sim, count)
    return probe.chat.pipe(Effect.catchCause((cause) =>
      Effect.sync(() => {
        error = Cause.squash(cause)
      })
    ))
  }, { plan, seed })
  return { result, error, ...probe! }
}

describe("SimNetwork", () => {
  it("delivers in order whatever the schedule, the fragmentation and the window", () => {
    for (let seed = 1; seed <= 60; seed++) {
      let got = ""
      const sent = Array.from({ length: 40 }, (_, i) => `${i};`).join("")
      const result = run((sim) =>
        dialled(sim, ({ pull, writer }) =>
          Effect.gen(function*() {
            yield* Effect.forkChild(Effect.forEach(sent.match(/\d+;/g)!, (part) => writer.write(part)))
            while (got.length < sent.length) got += text(yield* pull)
          })), {
        seed,
        config: {
          schedule: random(0.5, 0.1),
          network: { latency: { kind: "exponential", floor: 0, spread: 3000 }, pairLatency: 5000, window: 16 }
        },
        plan: [fault("fragment", 0, { for: 100_000, level: 3 })]
      })
      assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
      assert.strictEqual(got, sent)
    }
  })

  it("cut: both ends fail with a reset", () => {
    const { error, result } = during([fault("cut", 200)])
    assert.include(["SocketReadError", "SocketWriteError"], (error as Socket.SocketError).reason._tag)
    assert.isTrue(result.events.some((event) => event.name === "cut"))
  })
  it("close: both ends see an orderly end", () => {
    const { back, errors } = during([fault("close", 200)])
    assert.deepStrictEqual(errors, ["SocketCloseError"])
    assert.isAbove(back.length, 5)
  })
  it("halfOpen: silence, and no error for who only waits", () => {
    const { back, error, errors } = during([fault("halfOpen", 200, { pick: 1 })])
    assert.isUndefined(error)
    assert.deepStrictEqual(errors, [])
    assert.isTrue(back.every(({ at }) => at < 210))
  })
  it("halfOpen: a writer learns of it when the kernel gives up", () => {
    let failedAt = 0
    const result = run((sim) =>
      dialled(sim, ({ pull, writer }) =>
        Effect.gen(function*() {
          yield* writer.write("x")
          yield* pull
          yield* Effect.sleep(500)
          yield* writer.write("y")
          const error = yield* Effect.flip(pull)
          failedAt = sim.now
          sim.always(error.reason._tag === "SocketReadError", "an error at last")
        })), { plan: [fault("halfOpen", 100, { pick: 1 })] })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.isAbove(failedAt, 900_000)
  })
  it.each(["clog", "partition", "oneWay", "swizzle"])("%s: nothing arrives for a while, everything after", (kind) => {
    const plain = during([])
    const { back, error } = during([fault(kind, 100, { for: 400, pick: 0xfffffffe })])
    assert.isUndefined(error)
    assert.strictEqual(back.map((chunk) => chunk.text).join(""), plain.back.map((chunk) => chunk.text).join(""))
    const gap = Math.max(...back.map(({ at }, i) => at - (back[i - 1]?.at ?? at)))
    assert.isAbove(gap, 80, kind)
  })
  it("fragment: pieces of a few bytes", () => {
    const { back } = during([fault("fragment", 0, { for: 100_000, level: 2 })])
    assert.isTrue(back.some((chunk) => chunk.text.length < 5))
  })
  it("bandwidth: bytes take their time", () => {
    let took = 0
    run((sim) =>
      dialled(sim, ({ pull, writer }) =>
        Effect.gen(function*() {
          yield* Effect.sleep(10)
          const start = sim.now
          yield* writer.write("x".repeat(4096))
          let got = 0
          while (got < 4096) got += text(yield* pull).length
          took = sim.now - start
        })), { plan: [fault("bandwidth", 0, { for: 100_000, level: 1 })] })
    assert.isAtLeast(took, 8000)
  })
  it("bitFlip: bytes change and their number does not", () => {
    const { back } = during([fault("bitFlip", 0, { for: 100_000, level: 50 })])
    const plain = during([])
    const joined = back.map((chunk) => chunk.text).join("")
    assert.notStrictEqual(joined, plain.back.map((chunk) => chunk.text).join(""))
  })
  it("refuse, hangDial, acceptClose, slowAccept, dns: what dials meet", () => {
    const dial = (plan: ReadonlyArray<Nemesis.Fault>, wait = 0) => {
      let outcome = "connected"
      let at = 0
      run((sim) => {
        sim.host("srv", echo)
        return Effect.andThen(
          Effect.sleep(10 + wait),
          dialled(sim, ({ pull, writer }) => Effect.andThen(writer.write("x"), pull)).pipe(
            Effect.catch((error: Socket.SocketError) =>
              Effect.sync(() => {
                const cause = (error.reason as { cause?: { code?: string } }).cause
                outcome = `${error.reason._tag} ${cause?.code ?? ""}`.trim()
              })
            ),
            Effect.ensuring(Effect.sync(() => {
              at = sim.now
            }))
          )
        )
      }, { plan })
      return { outcome, at }
    }
    assert.strictEqual(dial([]).outcome, "connected")
    assert.strictEqual(dial([fault("refuse", 0, { for: 1000 })]).outcome, "SocketOpenError ECONNREFUSED")
    assert.strictEqual(dial([fault("dns", 0, { for: 1000 })]).outcome, "SocketOpenError ENOTFOUND")
    assert.strictEqual(dial([fault("acceptClose", 0, { for: 1000 })]).outcome, "SocketReadError ECONNRESET")
    const hung = dial([fault("hangDial", 0, { for: 5000 })])
    assert.strictEqual(hung.outcome, "connected")
    assert.isAbove(hung.at, 5000)
    const slow = dial([fault("slowAccept", 0, { for: 5000, level: 2000 })])
    assert.strictEqual(slow.outcome, "connected")
    assert.isAbove(slow.at, dial([]).at)
  })
  it("a dial that nobody answers fails when the kernel gives up", () => {
    let at = 0
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("srv", echo)
        yield* host.ready
        host.kill({ power: true })
        const error = yield* Effect.flip(dialled(sim, () => Effect.void))
        sim.always((error as Socket.SocketError).reason._tag === "SocketOpenError", "not open")
        at = sim.now
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.isAtLeast(at, 127_000)
  })
  it("openTimeout bounds a dial", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("srv", echo)
        yield* host.ready
        host.kill({ power: true })
        const { socket } = yield* CurrentHost
        const error = yield* Effect.flip(Effect.scoped(socket("srv:7", { openTimeout: "2 seconds" }).reader))
        const { reason } = error
        sim.always(reason._tag === "SocketOpenError" && reason.kind === "Timeout", "timed out")
        sim.always(sim.now < 2100, "in time", { now: sim.now })
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("kill: the peer is told; power: it is not", () => {
    const outcome = (power: boolean) => {
      let seen = "nothing"
      run((sim) =>
        dialled(sim, ({ pull, writer }) =>
          Effect.gen(function*() {
            yield* writer.write("x")
            yield* pull
            sim.hosts.find((host) => host.name === "srv")!.kill({ power })
            const exit = yield* Effect.timeoutOption(Effect.flip(pull), "60 seconds")
            if (exit._tag === "Some") seen = exit.value.reason._tag
          }))
      )
      return seen
    }
    assert.strictEqual(outcome(false), "SocketCloseError")
    assert.strictEqual(outcome(true), "nothing")
  })
  it("a port is bound once, and free again after a kill", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("srv")
        const listen = Effect.flatMap(CurrentHost, (current) => current.listen(9))
        const twice = yield* host.run(Effect.scoped(Effect.andThen(listen, Effect.exit(listen))))
        sim.always(Exit.isFailure(twice), "in use")
        host.kill()
        host.reboot()
        sim.always(Exit.isSuccess(yield* host.run(Effect.scoped(Effect.exit(listen)))), "free")
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("a writer waits while the window is full", () => {
    let written = 0
    const result = run((sim) =>
      Effect.gen(function*() {
        sim.host(
          "mute",
          Layer.effectDiscard(Effect.gen(function*() {
            const server = yield* SocketServer.SocketServer
            yield* Effect.forkScoped(server.run((socket) => Effect.scoped(Effect.andThen(socket.reader, Effect.never))))
          })).pipe(Layer.provide(layerServer(1)))
        )
        const { socket } = yield* CurrentHost
        yield* Effect.scoped(Effect.gen(function*() {
          const connection = socket("mute:1")
          yield* connection.reader
          const writer = yield* connection.writer
          const fiber = yield* Effect.forkChild(
            Effect.forever(Effect.tap(writer.write("x".repeat(100)), () => Effect.sync(() => written++)))
          )
          yield* Effect.sleep("1 minute")
          yield* Fiber.interrupt(fiber)
        }))
      }), { config: { network: { ...lan, window: 1000 } } })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.strictEqual(written, 10)
  })
})
