import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { request } from "node:http"
import { startChild } from "../support/ChildNode.ts"
import { scratch, type TestNode } from "../support/TestNode.ts"

const gigabyte = 1_000_000_000

/** Sends `before`, then a line of `bytes` bytes made on the way, then `after`. */
const sendLine = (node: TestNode, before: string, bytes: number, after: string) =>
  Effect.promise(() =>
    new Promise<{ readonly status: number; readonly body: any }>((resolve, reject) => {
      const call = request(`${node.url}/v1/events`, {
        method: "POST",
        headers: { authorization: `Bearer ${node.token}`, "content-type": "application/x-ndjson" }
      }, (response) => {
        let text = ""
        response.on("data", (chunk: Buffer) => {
          text += chunk.toString()
        })
        response.on("end", () => resolve({ status: response.statusCode!, body: JSON.parse(text) }))
      })
      call.on("error", reject)
      call.write(`${before}"`)
      const piece = Buffer.alloc(1_000_000, "x")
      let sent = 0
      const more = (): void => {
        while (sent < bytes) {
          sent += piece.length
          if (!call.write(piece)) {
            call.once("drain", more)
            return
          }
        }
        call.end(`"\n${after}`)
      }
      more()
    })
  )

describe("a line of a gigabyte", () => {
  it.live("is refused without being held, and its neighbours are stored", () =>
    Effect.gen(function*() {
      const node = yield* startChild(yield* scratch)
      const memory = Effect.map(node.json("/v1/stats"), ({ body }) => body.process.resident_bytes as number)
      // Warm, so that what grows is what the line takes.
      yield* sendLine(node, "1\n", 20_000_000, "2\n")
      const before = yield* memory
      const { body, status } = yield* sendLine(node, "3\n", gigabyte, "4\n")
      const after = yield* memory
      assert.strictEqual(status, 200)
      assert.deepStrictEqual([body.accepted, body.durable, body.rejected.total], [2, 2, 1])
      assert.deepStrictEqual(body.rejected.lines, [{ line: 2, reason: "tooLong", offset: 1_048_576 }])
      assert.isBelow(after - before, 200_000_000)
      const read = yield* node.json("/v1/events")
      assert.sameMembers(read.body.events.map((event: any) => event.raw), [1, 2, 3, 4])
    }), 60_000)
})
