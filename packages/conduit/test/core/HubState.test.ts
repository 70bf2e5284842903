import { assert, describe, it } from "@effect/vitest"
import { HubState, type Retention } from "../../src/core/HubState.ts"
import { KeyRing } from "../../src/core/KeyRing.ts"
import * as ResumeKey from "../../src/core/ResumeKey.ts"
import { seeded } from "../support.ts"

const retention: Retention = { timeMillis: 1000, conduits: 100, detached: 3, bytes: 1000 }
const random = seeded(7)
const key = () => random.bytes(16)
const presenting = (presented: Uint8Array | undefined, lastReceived?: number) => ({
  key: presented,
  lastReceived,
  extensions: false
})

describe("KeyRing", () => {
  it("keeps the key known to be held and everything issued since", () => {
    const [a, b, c] = [key(), key(), key()]
    const ring = new KeyRing(8)
    for (const k of [a, b, c]) ring.issue(k)
    assert.isTrue(ring.accepts(a) && ring.accepts(b) && ring.accepts(c))
    assert.deepStrictEqual(ring.prove(b), [a])
    assert.isTrue(!ring.accepts(a) && ring.accepts(b) && ring.accepts(c))
  })
  it("is bounded: the oldest unproven key goes, the held one stays", () => {
    const held = key()
    const ring = new KeyRing(3, [held])
    const [a, b, c] = [key(), key(), key()]
    assert.isUndefined(ring.issue(a))
    assert.isUndefined(ring.issue(b))
    assert.strictEqual(ring.issue(c), a)
    assert.isTrue(ring.accepts(held) && !ring.accepts(a) && ring.accepts(b) && ring.accepts(c))
  })
  it("compares every byte", () => {
    const a = key()
    assert.isTrue(ResumeKey.equals(a, a.slice()))
    for (let i = 0; i < 16; i++) assert.isFalse(ResumeKey.equals(a, a.map((byte, at) => at === i ? byte ^ 1 : byte)))
    assert.isFalse(ResumeKey.equals(a, a.subarray(0, 15)))
  })
})

describe("HubState", () => {
  it("creates for a fresh hello, attaches by key, refuses unknown keys and nonsense", () => {
    const hub = new HubState<number>(retention)
    assert.strictEqual(hub.route(presenting(undefined))._tag, "Create")
    assert.deepStrictEqual(hub.route(presenting(undefined, 3)), { _tag: "Reject", why: "nonsense" })
    const [mine, yours] = [key(), key()]
    for (const [id, k] of [[1, mine], [2, yours]] as const) {
      hub.add(id)
      hub.issue(id, k)
    }
    assert.deepStrictEqual(hub.route(presenting(mine)), { _tag: "Attach", id: 1 })
    assert.deepStrictEqual(hub.route(presenting(yours, 5)), { _tag: "Attach", id: 2 })
    assert.deepStrictEqual(hub.route(presenting(key())), { _tag: "Reject", why: "unknown-key" })
    // The same selector with another secret part gets nothing.
    const forged = mine.slice()
    forged[15] = forged[15]! ^ 1
    assert.deepStrictEqual(hub.route(presenting(forged)), { _tag: "Reject", why: "unknown-key" })
    hub.remove(1)
    assert.strictEqual(hub.route(presenting(mine))._tag, "Reject")
    assert.strictEqual(hub.route(presenting(yours))._tag, "Attach")
  })
  it("retires older keys when a newer one is presented or proven", () => {
    const hub = new HubState<number>(retention)
    const [a, b, c] = [key(), key(), key()]
    hub.add(1)
    for (const k of [a, b, c]) hub.issue(1, k)
    assert.strictEqual(hub.route(presenting(b))._tag, "Attach")
    assert.strictEqual(hub.route(presenting(a))._tag, "Reject")
    hub.prove(1, c)
    assert.strictEqual(hub.route(presenting(b))._tag, "Reject")
    assert.strictEqual(hub.route(presenting(c))._tag, "Attach")
  })
  it("expires by time, count and bytes, longest detached first", () => {
    const hub = new HubState<number>(retention)
    for (let id = 1; id <= 6; id++) hub.add(id)
    assert.deepStrictEqual(hub.lost(1, 0, 10), [])
    assert.deepStrictEqual(hub.lost(2, 100, 10), [])
    assert.strictEqual(hub.nextExpiry, 1000)
    assert.deepStrictEqual(hub.evict(999), [])
    assert.deepStrictEqual(hub.evict(1000), [1])
    hub.remove(1)
    assert.deepStrictEqual(hub.evict(1000), [])
    hub.lost(3, 200, 10)
    hub.lost(4, 300, 10)
    assert.deepStrictEqual(hub.lost(5, 400, 10), [2])
    hub.remove(2)
    hub.attached(3)
    assert.deepStrictEqual([hub.detached, hub.bytes], [2, 20])
    assert.deepStrictEqual(hub.grew(5, 500, 1500), [4, 5])
    hub.remove(4)
    hub.remove(5)
    assert.deepStrictEqual([hub.size, hub.detached, hub.bytes], [2, 0, 0])
  })
  it("refuses a fresh peer when full of attached conduits, otherwise names who must go", () => {
    const hub = new HubState<number>({ ...retention, conduits: 2 })
    hub.add(1)
    hub.add(2)
    assert.deepStrictEqual(hub.route(presenting(undefined)), { _tag: "Reject", why: "full" })
    hub.lost(1, 0, 0)
    assert.strictEqual(hub.route(presenting(undefined))._tag, "Create")
    assert.strictEqual(hub.longestDetached, 1)
  })
})
