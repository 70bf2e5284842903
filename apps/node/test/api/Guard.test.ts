import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { rawConnection, startNode, until } from "../support/TestNode.ts"

const routes: ReadonlyArray<readonly [string, string]> = [
  ["POST", "/v1/events"],
  ["GET", "/v1/events"],
  ["GET", "/v1/tail"],
  ["GET", "/v1/producers/p"],
  ["GET", "/v1/stats"],
  ["GET", "/metrics"],
  ["GET", "/openapi.json"]
]

const problem = (response: Response) =>
  Effect.promise(async () => {
    assert.strictEqual(response.headers.get("content-type"), "application/problem+json")
    return await response.json() as { readonly status: number; readonly code: string; readonly detail: string }
  })

describe("access", () => {
  it.live("wants the token everywhere but at the probes", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      for (
        const authorization of [
          "",
          "Bearer ",
          "Bearer wrong",
          `Basic ${btoa(`x:${node.token}`)}`,
          `Bearer ${node.token}x`
        ]
      ) {
        for (const [method, path] of routes) {
          const response = yield* Effect.promise(() =>
            fetch(node.url + path, { method, headers: authorization === "" ? {} : { authorization } })
          )
          assert.deepInclude(yield* problem(response), { status: 401, code: "E_TOKEN" })
        }
      }
      for (const path of ["/livez", "/readyz"]) {
        assert.strictEqual((yield* Effect.promise(() => fetch(node.url + path))).status, 200)
      }
    }))

  it.live("keeps the token to its owner", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      assert.strictEqual(statSync(node.dir).mode & 0o777, 0o700)
      assert.strictEqual(statSync(join(node.dir, "token")).mode & 0o777, 0o600)
      assert.strictEqual(statSync(join(node.dir, "node.json")).mode & 0o777, 0o600)
      assert.strictEqual(readFileSync(join(node.dir, "token"), "utf8").trim(), node.token)
      assert.lengthOf(Buffer.from(node.token, "base64url"), 32)
      assert.notInclude(readFileSync(join(node.dir, "node.json"), "utf8"), node.token)
    }))

  it.live("refuses pages of other sites, and opens nothing to them", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      for (const origin of ["http://evil.example", "null", `https://127.0.0.1:${node.port + 1}`, "http://localhost"]) {
        const response = yield* node.call("/v1/events", { headers: { origin } })
        assert.isNull(response.headers.get("access-control-allow-origin"))
        assert.deepInclude(yield* problem(response), { status: 403, code: "E_ORIGIN" })
      }
      assert.strictEqual((yield* node.call("/v1/events", { headers: { origin: node.url } })).status, 200)
      const preflight = yield* node.call("/v1/events", { method: "OPTIONS", headers: { origin: node.url } })
      assert.strictEqual(preflight.status, 404)
    }))

  it.live("answers to addresses and to names it was given, to no other", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ node: { allowedHosts: ["Bus.Example"] } })
      const ask = Effect.fnUntraced(function*(host: string) {
        const { received, socket } = yield* rawConnection(node.port)
        socket.write(`GET /livez HTTP/1.1\r\n${host === "" ? "" : `host: ${host}\r\n`}connection: close\r\n\r\n`)
        yield* until(() => received().includes("\r\n\r\n"), "an answer")
        return Number(received().slice(9, 12))
      })
      for (
        const host of [
          "127.0.0.1",
          `127.0.0.1:${node.port}`,
          "localhost:80",
          "[::1]:7700",
          "10.1.2.3",
          "bus.example:7700"
        ]
      ) {
        assert.strictEqual(yield* ask(host), 200, host)
      }
      for (
        const host of [
          "evil.example",
          "127.0.0.1.evil.example",
          "localhost.evil.example",
          "a b",
          "user@127.0.0.1@evil.example"
        ]
      ) {
        assert.include([400, 421], yield* ask(host), host)
      }
      assert.strictEqual(yield* ask(""), 400)
    }))

  it.live("hangs up on a client that takes its time over the head of a request", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ limits: { headers: Duration.millis(200) } })
      const { closed, received, socket } = yield* rawConnection(node.port)
      socket.write("GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ")
      yield* closed
      assert.match(received(), /^HTTP\/1\.1 408 /)
    }))

  it.live("names unknown routes and methods as problems", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      for (
        const [method, path] of [["GET", "/"], ["DELETE", "/v1/events"], ["GET", "/v1/events/1"], [
          "GET",
          "/../token"
        ]] as const
      ) {
        assert.deepInclude(yield* problem(yield* node.call(path, { method })), { status: 404, code: "E_ROUTE" })
      }
    }))

  it.live("closes every answer to caches and to guessing of its type", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      for (const path of ["/v1/events", "/livez", "/nowhere"]) {
        const response = yield* node.call(path)
        assert.strictEqual(response.headers.get("cache-control"), "no-store")
        assert.strictEqual(response.headers.get("x-content-type-options"), "nosniff")
      }
    }))
})

describe("connections", () => {
  it.live("beyond the limit are closed, and there is room again when one ends", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ limits: { maxConnections: 2 } })
      const ask = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
      const first = yield* rawConnection(node.port)
      const second = yield* rawConnection(node.port)
      for (const { received, socket } of [first, second]) {
        socket.write(ask)
        yield* until(
          () => received().startsWith("HTTP/1.1 204") || received().startsWith("HTTP/1.1 200"),
          "it is served"
        )
      }
      const third = yield* rawConnection(node.port)
      yield* third.closed
      assert.strictEqual(third.received(), "")
      first.socket.destroy()
      yield* until(async () => {
        const response = await fetch(`${node.url}/livez`).catch(() => undefined)
        return response?.ok === true
      }, "there is room again")
    }))
})
