import { assert, describe, it } from "@effect/vitest"
import { type AdapterError, adapterError, type AdapterErrorReason, redactUrl } from "../src/Adapter.ts"
import { PollError } from "../src/Poll.ts"

const tags: ReadonlyArray<AdapterErrorReason["_tag"]> = [
  "Transient",
  "Backpressure",
  "Full",
  "Connection",
  "Fatal",
  "Serialization",
  "InvalidPosition",
  "Shutdown"
]
const which = (is: (error: AdapterError) => boolean) => tags.filter((tag) => is(adapterError("a", tag, "m")))

describe("errors", () => {
  it("E01 E02 E04 E05 which are retried, which mean a shutdown, which are fatal", () => {
    assert.deepStrictEqual(which((error) => error.isRetryable), ["Transient", "Backpressure", "Full"])
    assert.deepStrictEqual(which((error) => error.isShutdown), ["Shutdown"])
    assert.deepStrictEqual(which((error) => error.isFatal), ["Fatal"])
  })
  it("E03 E06 the cause stays reachable, and the text names adapter and reason", () => {
    const cause = new Error("inner")
    const error = adapterError("redis", "Serialization", "a record", cause)
    assert.strictEqual(error.reason.cause, cause)
    assert.strictEqual(error.message, "redis: Serialization: a record")
  })
  it("E07 a reader's error wraps the adapter's", () => {
    const cause = adapterError("redis", "Connection", "refused")
    const error = new PollError({ reason: { _tag: "Adapter", cause } })
    assert.isTrue(error.reason._tag === "Adapter" && error.reason.cause === cause)
    assert.strictEqual(error.message, "redis: Connection: refused")
  })
})

describe("addresses in logs", () => {
  it("D07 user name and password are replaced", () => {
    assert.strictEqual(redactUrl("redis://user:secret@host:6379/0"), "redis://[REDACTED]@host:6379/0")
    assert.strictEqual(redactUrl("redis://:token@host"), "redis://[REDACTED]@host")
    assert.strictEqual(redactUrl("nats://token@host:4222"), "nats://[REDACTED]@host:4222")
  })
  it("D08 at the last @ of the authority; one in the path stays", () => {
    assert.strictEqual(redactUrl("redis://admin:p@ss@host/x"), "redis://[REDACTED]@host/x")
    assert.strictEqual(redactUrl("redis://a:b@host/p@th?q=@#@"), "redis://[REDACTED]@host/p@th?q=@#@")
    assert.strictEqual(redactUrl("redis://host/p@th"), "redis://host/p@th")
  })
  it("D09 what holds none stays as it is", () => {
    for (const text of ["redis://host:6379", "host", "", "://", "redis://", "user@host", "redis://host?a=b@c"]) {
      assert.strictEqual(redactUrl(text), text)
    }
  })
})
