import { assert, describe, it } from "@effect/vitest"
import { ConduitState } from "../../src/core/ConduitState.ts"
import * as Control from "../../src/core/Control.ts"
import * as Frame from "../../src/core/Frame.ts"
import type { ItemBatch } from "../../src/core/ItemBatch.ts"
import { seeded, utf8 } from "../support.ts"

const window = { bytes: 1_000_000, frames: 1000 }
const make = (options: Partial<ConstructorParameters<typeof ConduitState>[0]> = {}) =>
  new ConduitState({ window, gaps: "fail", ...options })
const feed = (state: ConduitState, seq: number, ack: number | undefined, item = utf8("x")) => {
  const bytes = Frame.encode({ seq, ack, item })
  return state.payload(bytes, 0, bytes.length, true)
}
const sendAll = (state: ConduitState, count: number) => {
  for (let i = 0; i < count; i++) state.append(utf8(`${i}`))
  while (state.buffer.take() !== undefined);
  state.markSent()
}
const hello = (lastReceived: number | undefined) => ({ key: undefined, lastReceived, extensions: false })

describe("ConduitState", () => {
  it("[duplicates-dropped] a repeated number vanishes", () => {
    const state = make()
    assert.isTrue(feed(state, 0, undefined) && feed(state, 0, undefined) && feed(state, 1, undefined))
    assert.deepStrictEqual([state.received, state.counters.duplicates], [1, 1])
    assert.strictEqual(state.collector.cut(false).reduce((sum: number, batch: ItemBatch) => sum + batch.count, 0), 2)
  })
  it("[ack-on-duplicate] a duplicate's ack still trims", () => {
    const state = make()
    sendAll(state, 3)
    feed(state, 0, 0)
    feed(state, 0, 2)
    assert.strictEqual(state.buffer.frames, 0)
  })
  it("[stale-ack] an old ack changes nothing", () => {
    const state = make()
    sendAll(state, 3)
    feed(state, 0, 1)
    assert.isTrue(feed(state, 1, 0))
    assert.strictEqual(state.buffer.frames, 1)
  })
  it("[ack-from-future] is a violation, also when nothing or not that much was given to a link", () => {
    const state = make()
    assert.isFalse(feed(state, 0, 0))
    assert.strictEqual(state.violation?._tag, "AckFromFuture")
    const unsent = make()
    unsent.append(utf8("kept, not sent"))
    assert.isFalse(feed(unsent, 0, 0))
    const sent = make()
    sendAll(sent, 2)
    assert.isFalse(feed(sent, 0, 2))
  })
  it("[hello-ahead] and [hello-behind] are divergences", () => {
    const state = make()
    sendAll(state, 5)
    assert.strictEqual(state.peerHello(hello(7), false), "peer-ahead")
    feed(state, 0, 2)
    assert.strictEqual(state.peerHello(hello(1), false), "peer-behind")
    assert.strictEqual(state.peerHello(hello(undefined), false), "peer-behind")
    assert.strictEqual(state.peerHello(hello(2), false), 2)
    assert.strictEqual(state.peerHello(hello(4), false), 0)
  })
  it("a hello trims like an ack, and the rest is replayed", () => {
    const state = make()
    sendAll(state, 5)
    assert.strictEqual(state.peerHello(hello(1), false), 3)
    assert.strictEqual(state.buffer.unsent, 3)
    assert.strictEqual(state.buffer.firstSeq, 2)
  })
  it("a hello trims and does not confirm; the acknowledgement that follows it does, though nothing is left to trim", () => {
    const state = make()
    sendAll(state, 5)
    assert.isTrue(feed(state, 0, 0))
    assert.strictEqual(state.confirmedTo, 1)
    state.peerHello(hello(3), false)
    assert.deepStrictEqual([state.buffer.firstSeq, state.confirmedTo], [4, 1])
    assert.isTrue(feed(state, 1, 2))
    assert.deepStrictEqual([state.buffer.firstSeq, state.confirmedTo], [4, 3])
    // A replayed frame carries an older one; it takes nothing back.
    assert.isTrue(feed(state, 1, 0))
    assert.strictEqual(state.confirmedTo, 3)
    assert.isTrue(feed(state, 2, 4))
    assert.deepStrictEqual([state.buffer.firstSeq, state.confirmedTo], [5, 5])
    sendAll(state, 2)
    state.peerHello(hello(5), false)
    state.confirmReceived()
    assert.strictEqual(state.confirmedTo, 6)
  })
  it("[first-ack-zero] absent until something is delivered, then 0", () => {
    const state = make()
    state.append(utf8("a"))
    feed(state, 0, undefined)
    state.delivered = 0
    state.append(utf8("b"))
    const acks = Array.from(state.buffer.entries(), ({ frame }) => {
      const decoded = Frame.decode(frame)
      return typeof decoded === "string" ? decoded : decoded.ack
    })
    assert.deepStrictEqual(acks, [undefined, 0])
    assert.strictEqual(state.helloReceived, 0)
  })
  it("gaps fail, or are counted and start a batch of their own", () => {
    const strict = make()
    assert.isFalse(feed(strict, 5, undefined))
    assert.deepStrictEqual(strict.violation, { _tag: "SequenceGap", expected: 0, received: 5 })
    const lenient = make({ gaps: "count" })
    const bytes = Frame.encode({ seq: 5, ack: undefined, item: utf8("x") })
    assert.isTrue(lenient.payload(bytes, 0, bytes.length, true))
    assert.isTrue(feed(lenient, 9, undefined))
    assert.deepStrictEqual(lenient.collector.cut(false).map(({ count, firstSeq }) => [firstSeq, count]), [[5, 1], [
      9,
      1
    ]])
    assert.strictEqual(lenient.counters.gaps, 2)
  })
  it("[wrap-send] and [wrap-reconnect]: numbers wrap and nothing notices", () => {
    const sender = make({ nextSeq: 4294967294 })
    const receiver = make({ received: 4294967293 })
    sendAll(sender, 4)
    for (const { frame } of sender.buffer.entries()) assert.isTrue(receiver.payload(frame, 0, frame.length, true))
    assert.deepStrictEqual([receiver.received, receiver.counters.framesReceived], [1, 4])
    assert.strictEqual(sender.peerHello(hello(4294967295), false), 2)
    assert.strictEqual(sender.buffer.firstSeq, 0)
    assert.strictEqual(sender.peerHello(hello(0), false), 1)
  })
  it("controls only after both agreed; an unknown kind is a violation", () => {
    const state = make()
    const ack = Control.encode("ack", 0)
    assert.isFalse(state.payload(ack, 0, ack.length, true))
    const agreed = make()
    agreed.extensions = true
    sendAll(agreed, 1)
    assert.isTrue(agreed.payload(ack, 0, ack.length, true))
    assert.strictEqual(agreed.buffer.frames, 0)
    assert.isFalse(agreed.payload(Uint8Array.of(9, 0, 0, 0, 0), 0, 5, true))
    assert.strictEqual(agreed.violation?._tag, "UnexpectedControl")
  })
  it("a bye takes effect when everything before it has arrived, and nothing may follow", () => {
    const state = make()
    state.extensions = true
    const bye = Control.encode("bye", 1)
    state.payload(bye, 0, 5, true)
    assert.isFalse(state.peerDone)
    feed(state, 0, undefined)
    assert.isTrue(state.peerDone)
    assert.isFalse(feed(state, 1, undefined))
    assert.strictEqual(state.violation?._tag, "FrameAfterBye")
  })
  it("in durable mode a hello claims only what was delivered", () => {
    const state = make({ durable: true })
    feed(state, 0, undefined)
    assert.isUndefined(state.helloReceived)
    state.delivered = 0
    assert.strictEqual(state.helloReceived, 0)
  })

  // Two states, links that cut at any payload and lose what was in flight, hellos as they would be said.
  it.each(Array.from({ length: 300 }, (_, seed) => seed))(
    "delivers exactly what was sent over any cuts (%i)",
    (seed) => {
      const random = seeded(seed)
      const start = seed % 3 === 0 ? (0x1_0000_0000 - random.below(40)) >>> 0 : 0
      const received = start === 0 ? undefined : (start - 1) >>> 0
      const ends = [make({ nextSeq: start, received }), make({ nextSeq: start, received })] as const
      const sent: [Array<number>, Array<number>] = [[], []]
      const got: [Array<number>, Array<number>] = [[], []]
      const flight: [Array<Uint8Array>, Array<Uint8Array>] = [[], []]
      const greet = () => {
        const claims = [ends[0].helloReceived, ends[1].helloReceived]
        for (const side of [0, 1] as const) {
          flight[side] = []
          assert.isNumber(ends[side].peerHello(hello(claims[1 - side]), false))
        }
      }
      const pump = (side: 0 | 1) => {
        const run = ends[side].buffer.take()
        ends[side].markSent()
        if (run === undefined) return
        for (let at = run.start; at < run.end;) {
          const length = new DataView(run.bytes.buffer).getUint32(at, true)
          flight[side].push(run.bytes.slice(at + 4, at + 4 + length))
          at += 4 + length
        }
      }
      const deliver = (to: 0 | 1, count: number) => {
        for (const frame of flight[1 - to as 0 | 1].splice(0, count)) {
          assert.isTrue(ends[to].payload(frame, 0, frame.length, true))
        }
        for (const batch of ends[to].collector.cut(false)) {
          for (const item of batch) got[to].push(new DataView(item.buffer, item.byteOffset).getUint32(0))
          ends[to].delivered = batch.lastSeq
        }
      }
      for (let step = 0; step < 400; step++) {
        const side = random.below(2) as 0 | 1
        switch (random.below(6)) {
          case 0:
          case 1:
            if (ends[side].buffer.frames < 500) {
              const item = new Uint8Array(4 + random.below(9))
              new DataView(item.buffer).setUint32(0, sent[side].length)
              sent[side].push(sent[side].length)
              ends[side].append(item)
            }
            break
          case 2:
            pump(side)
            break
          case 3:
          case 4:
            deliver(side, 1 + random.below(5))
            break
          case 5:
            if (random.below(3) === 0) greet()
        }
      }
      greet()
      for (let round = 0; round < 200; round++) {
        for (const side of [0, 1] as const) {
          pump(side)
          deliver(side, 1000)
        }
      }
      assert.deepStrictEqual(got[0], sent[1])
      assert.deepStrictEqual(got[1], sent[0])
    }
  )
})
