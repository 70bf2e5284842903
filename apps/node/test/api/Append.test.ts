import { Adapter } from "@perigee/bus"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber } from "effect"
import { rawConnection, startNode, until } from "../support/TestNode.ts"

const payloads = (body: { readonly events: ReadonlyArray<{ readonly raw: unknown }> }) =>
  body.events.map((event) => event.raw)

describe("POST /v1/events", () => {
  it.live("stores an object, byte for byte", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      const text = "{ \"n\": 1.0, \"big\": 12345678901234567890 }"
      const { body, status } = yield* node.json("/v1/events", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: text
      })
      assert.strictEqual(status, 200)
      assert.deepStrictEqual(body, {
        accepted: 1,
        duplicates: 0,
        durable: 1,
        rejected: { total: 0, lines: [] },
        last_sequence: null
      })
      const read = yield* node.call("/v1/events")
      assert.include(yield* Effect.promise(() => read.text()), `"raw":${text},`)
    }))

  it.live("stores the elements of an array in order", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 1 } })
      const { body } = yield* node.json("/v1/events", {
        method: "POST",
        headers: { "content-type": "application/json; charset=utf-8" },
        body: "[1,{\"__proto__\":{\"polluted\":true}},[2]]"
      })
      assert.strictEqual(body.accepted, 3)
      assert.strictEqual(({} as { polluted?: boolean }).polluted, undefined)
      const text = yield* Effect.flatMap(node.call("/v1/events"), (response) => Effect.promise(() => response.text()))
      assert.include(text, "\"raw\":{\"__proto__\":{\"polluted\":true}}")
      assert.deepStrictEqual((yield* node.json("/v1/events")).body.events.length, 3)
    }))

  it.live("keeps the good lines of NDJSON and reports the others by number", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 1 } })
      const { body, status } = yield* node.append("{\"a\":1}\n{\"a\":\n\r\n[[2]]\nnope\n\"half")
      assert.strictEqual(status, 200)
      assert.strictEqual(body.accepted, 2)
      assert.strictEqual(body.durable, 2)
      assert.deepStrictEqual(body.rejected, {
        total: 3,
        lines: [
          { line: 2, reason: "notJson", offset: 5 },
          { line: 5, reason: "notJson", offset: 1 },
          { line: 6, reason: "notJson", offset: 5 }
        ]
      })
      assert.deepStrictEqual(payloads((yield* node.json("/v1/events")).body), [{ a: 1 }, [[2]]])
    }))

  it.live("lists the first refused lines and counts the rest", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ limits: { rejectedListed: 3 } })
      const { body } = yield* node.append("x\n".repeat(1000) + "1\n")
      assert.strictEqual(body.rejected.total, 1000)
      assert.lengthOf(body.rejected.lines, 3)
      assert.strictEqual(body.accepted, 1)
    }))

  it.live("refuses invalid UTF-8, deep nesting and long lines one by one", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ limits: { maxEventBytes: 1024, maxDepth: 16 } })
      const body = Buffer.concat([
        Buffer.from("1\n\""),
        Buffer.from([0xff]),
        Buffer.from(`"\n${"[".repeat(17)}${"]".repeat(17)}\n"${"x".repeat(2000)}"\n{"__proto__":1}\n`)
      ])
      const answer = yield* node.json("/v1/events", {
        method: "POST",
        headers: { "content-type": "application/x-ndjson" },
        body
      })
      assert.strictEqual(answer.body.accepted, 2)
      assert.deepStrictEqual(answer.body.rejected.lines.map(({ line, reason }: any) => [line, reason]), [
        [2, "invalidUtf8"],
        [3, "tooDeep"],
        [4, "tooLong"]
      ])
    }))

  it.live("numbers the events of a named producer and stores each once", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      const first = yield* node.append("1\nbad\n2\n3\n", "?producer=p&sequence=1")
      assert.strictEqual(first.body.accepted, 3)
      assert.strictEqual(first.body.last_sequence, 3)
      const again = yield* node.append("2\n3\n4\n", "?producer=p&sequence=2")
      assert.deepStrictEqual(
        [again.body.accepted, again.body.duplicates, again.body.durable, again.body.last_sequence],
        [1, 2, 3, 4]
      )
      assert.deepStrictEqual((yield* node.json("/v1/producers/p")).body, { name: "p", last_sequence: 4 })
      assert.deepStrictEqual((yield* node.json("/v1/producers/unknown%2Fname")).body, {
        name: "unknown/name",
        last_sequence: 0
      })
      const gap = yield* node.append("9\n", "?producer=p&sequence=9")
      assert.strictEqual(gap.status, 409)
      assert.deepStrictEqual([gap.body.code, gap.body.resume_from], ["E_SEQUENCE", 5])
      assert.lengthOf((yield* node.json("/v1/events")).body.events, 4)
    }))

  it.live("carries channel and key", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 8 } })
      yield* node.append("1\n2\n3\n4\n", "?channel=quakes&key=us")
      yield* node.append("5\n")
      const { body } = yield* node.json("/v1/events?channel=quakes")
      assert.deepStrictEqual(payloads(body), [1, 2, 3, 4])
      assert.strictEqual(new Set(body.events.map((event: any) => event.shard_id)).size, 1)
      assert.strictEqual(body.events[0].channel, "quakes")
    }))

  it.live("refuses other media types, with what to send instead", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      for (
        const headers of [{ "content-type": "text/plain" }, {
          "content-type": "application/x-ndjson",
          "content-encoding": "gzip"
        }]
      ) {
        const { body, status } = yield* node.json("/v1/events", { method: "POST", headers, body: "1\n" })
        assert.deepStrictEqual([status, body.code], [415, "E_MEDIA_TYPE"])
      }
    }))

  it.live("refuses a JSON body that is broken, too deep, too large or not UTF-8, and stores nothing of it", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ limits: { maxJsonBytes: 10_000, maxEventBytes: 1000, maxDepth: 16 } })
      const post = (body: string | Uint8Array<ArrayBuffer>) =>
        node.json("/v1/events", { method: "POST", headers: { "content-type": "application/json" }, body })
      const cases: ReadonlyArray<readonly [string | Uint8Array<ArrayBuffer>, number, string]> = [
        ["[1,2", 400, "E_JSON"],
        ["", 400, "E_JSON"],
        ["[".repeat(9000), 400, "E_DEPTH"],
        [Uint8Array.of(0x22, 0xff, 0x22), 400, "E_UTF8"],
        [`[1,"${"x".repeat(1000)}"]`, 413, "E_EVENT_SIZE"],
        [`"${"x".repeat(20_000)}"`, 413, "E_BODY_SIZE"]
      ]
      for (const [text, status, code] of cases) {
        const answer = yield* post(text)
        assert.deepStrictEqual([answer.status, answer.body.code], [status, code])
      }
      assert.lengthOf((yield* node.json("/v1/events")).body.events, 0)
    }))

  it.live("wants producer and sequence together, and a sequence from 1", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      for (
        const query of [
          "?producer=p",
          "?sequence=1",
          "?producer=p&sequence=0",
          "?producer=p&sequence=x",
          "?producer=&sequence=1"
        ]
      ) {
        const { body, status } = yield* node.append("1\n", query)
        assert.deepStrictEqual([status, body.code], [400, "E_REQUEST"], query)
      }
    }))

  it.live("gives up a body that never ends, and says how much of it is stored", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ limits: { bodyIdle: Duration.millis(300) } })
      const { closed, received, socket } = yield* rawConnection(node.port)
      socket.write(
        `POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${node.token}\r\n` +
          "content-type: application/x-ndjson\r\ncontent-length: 1000\r\n\r\n1\n2\nunfinis"
      )
      yield* closed
      assert.match(received(), /^HTTP\/1.1 408 /)
      const problem = JSON.parse(received().split("\r\n\r\n")[1]!)
      assert.strictEqual(problem.code, "E_BODY_IDLE")
      assert.deepStrictEqual([problem.progress.accepted, problem.progress.durable], [2, 2])
    }))

  it.live("keeps what arrived of a body that broke off, but not its half line", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      const { socket } = yield* rawConnection(node.port)
      socket.write(
        `POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${node.token}\r\n` +
          "content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n8\r\n11\n22\n33\r\n"
      )
      const stored = Effect.map(node.json("/v1/events"), ({ body }) => payloads(body))
      yield* until(() => Effect.runPromise(Effect.map(stored, (found) => found.length === 2)), "two lines stored")
      socket.destroy()
      yield* until(
        () => Effect.runPromise(Effect.map(node.json("/v1/stats"), ({ body }) => body.bus.pending === 0)),
        "settled"
      )
      assert.sameMembers(yield* stored as Effect.Effect<Array<unknown>>, [11, 22])
    }))

  it.live("answers `Expect: 100-continue`", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      const { received, socket } = yield* rawConnection(node.port)
      socket.write(
        `POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${node.token}\r\nexpect: 100-continue\r\n` +
          "content-type: application/x-ndjson\r\ncontent-length: 2\r\n\r\n"
      )
      yield* until(() => received().startsWith("HTTP/1.1 100 "), "100 Continue")
      socket.write("1\n")
      yield* until(() => received().includes("\"accepted\":1"), "the answer")
    }))

  it.live("says that the disk is full, and how far it came", () =>
    Effect.gen(function*() {
      let full = false
      const node = yield* startNode({
        bus: { shards: 1 },
        script: {
          onAppend: () =>
            full ? Effect.fail(Adapter.adapterError("scripted", "Full", "database or disk is full")) : Effect.void
        }
      })
      assert.strictEqual((yield* node.append("1\n2\n", "?producer=p&sequence=1")).status, 200)
      full = true
      const { body, status } = yield* node.append("3\n4\n", "?producer=p&sequence=3")
      assert.deepStrictEqual([status, body.code], [507, "E_STORE_FULL"])
      assert.strictEqual(body.progress.durable, 0)
      assert.isAtMost(body.progress.last_sequence, 2)
      full = false
      const again = yield* node.append("3\n4\n", "?producer=p&sequence=3")
      assert.deepStrictEqual([again.body.accepted, again.body.last_sequence], [2, 4])
      assert.deepStrictEqual(payloads((yield* node.json("/v1/events")).body), [1, 2, 3, 4])
    }))

  it.live("pushes back on the socket while the store is slow, and loses nothing", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const node = yield* startNode({
        bus: { shards: 1 },
        limits: { chunksInFlight: 2, readAheadBytes: 65_536 },
        script: { onAppend: () => Deferred.await(gate) }
      })
      const line = `${JSON.stringify({ text: "x".repeat(1000) })}\n`
      const lines = 20_000
      const { received, socket } = yield* rawConnection(node.port)
      socket.write(
        `POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${node.token}\r\n` +
          `content-type: application/x-ndjson\r\ncontent-length: ${line.length * lines}\r\n\r\n`
      )
      let sent = 0
      const chunk = line.repeat(50)
      const sending = yield* Effect.forkChild(Effect.promise(async () => {
        while (sent < lines) {
          sent += 50
          if (!socket.write(chunk)) await new Promise((drained) => socket.once("drain", drained))
        }
      }))
      // The sockets of both sides hold some megabytes; the rest waits at the sender.
      let before = -1
      yield* until(() => {
        const still = sent === before
        before = sent
        return still && sent > 0
      }, "the sender stalls")
      assert.isBelow(sent, lines)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(sending)
      yield* until(() => received().includes("\"accepted\""), "the answer")
      assert.include(received(), `"accepted":${lines}`)
    }))
})
