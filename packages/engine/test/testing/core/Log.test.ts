import { Metadata } from "@perigee/proto/wire"
import { assert, it } from "@effect/vitest"
import { Log } from "../../../src/testing/core/Log.ts"

const entry = (storedAt: number, size = 10, messages = 1) => ({
  section: new Uint8Array(size),
  metadata: Metadata.empty(),
  messages,
  key: undefined,
  storedAt
})

const filled = () => {
  const log = new Log({ maxEntries: 100, maxBytes: 10_000 }, 3)
  for (let at = 0; at < 3; at++) log.append(entry(at * 10))
  log.roll(7)
  for (let at = 3; at < 5; at++) log.append(entry(at * 10, 10, 4))
  return log
}

it("numbers entries by ledger and messages by topic", () => {
  const log = filled()
  assert.deepStrictEqual([...log.from(0)].map(({ entry, lastMessage, ledger }) => [ledger, entry, lastMessage]), [
    [3, 0, 0],
    [3, 1, 1],
    [3, 2, 2],
    [7, 0, 6],
    [7, 1, 10]
  ])
  assert.deepStrictEqual(log.last, { ledger: 7, entry: 1 })
})

it("finds the first entry at or after a position, in gaps between ledgers too", () => {
  const log = filled()
  const find = (ledger: number, at: number) => log.find({ ledger, entry: at })
  assert.deepStrictEqual([
    find(-1, -1),
    find(3, -1),
    find(3, 2),
    find(3, 9),
    find(5, 0),
    find(7, 1),
    find(7, 2),
    find(9, 0)
  ], [
    0,
    0,
    2,
    3,
    3,
    4,
    5,
    5
  ])
  assert.strictEqual(log.find({ ledger: Number(0x7fff_ffff_ffff_ffffn), entry: 0 }), 5)
  assert.strictEqual(log.exact({ ledger: 3, entry: 9 }), undefined)
  assert.strictEqual(log.exact({ ledger: 7, entry: 0 }), 3)
  assert.deepStrictEqual([log.findTime(20), log.findTime(21), log.findTime(99)], [2, 3, 5])
  assert.deepStrictEqual([log.before(0), log.before(3), log.before(4)], [
    { ledger: 3, entry: -1 },
    { ledger: 3, entry: 2 },
    { ledger: 7, entry: 0 }
  ])
})

it("forgets the settled oldest to make room, and refuses when there is none", () => {
  const log = new Log({ maxEntries: 3, maxBytes: 35 }, 0)
  for (let at = 0; at < 3; at++) {
    assert.isTrue(log.reserve(10, 0))
    log.append(entry(at))
  }
  assert.isFalse(log.reserve(10, 0))
  assert.isTrue(log.reserve(10, 2))
  assert.deepStrictEqual([log.start, log.end], [2, 3])
  assert.isFalse(log.reserve(30, 2))
  assert.strictEqual(log.find({ ledger: -1, entry: -1 }), 2)
})
