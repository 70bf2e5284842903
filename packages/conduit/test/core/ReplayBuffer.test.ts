import { assert, describe, it } from "@effect/vitest"
import * as Frame from "../../src/core/Frame.ts"
import { ReplayBuffer } from "../../src/core/ReplayBuffer.ts"
import * as Serial from "../../src/core/Serial.ts"
import * as StreamDecoder from "../../src/core/StreamDecoder.ts"
import { hex, seeded, utf8 } from "../support.ts"

const limits = { bytes: 1_000_000, frames: 1000 }
const filled = (first: number, count: number, bounds = limits) => {
  const buffer = new ReplayBuffer(bounds, first)
  for (let i = 0; i < count; i++) buffer.append(utf8(`item ${i}`), undefined)
  return buffer
}
const seqs = (buffer: ReplayBuffer) => Array.from(buffer.entries(), ({ seq }) => seq)

describe("ReplayBuffer", () => {
  it("[push-iterate] yields what was pushed, in order", () => {
    assert.deepStrictEqual(seqs(filled(0, 3)), [0, 1, 2])
  })
  it("[trim-prefix] forgets up to the ack", () => {
    const buffer = filled(0, 5)
    assert.strictEqual(buffer.trim(2), 3)
    assert.deepStrictEqual(seqs(buffer), [3, 4])
  })
  it("[trim-boundary] forgets exactly the acknowledged number", () => {
    const buffer = filled(10, 2)
    buffer.trim(10)
    assert.deepStrictEqual(seqs(buffer), [11])
  })
  it("[trim-stale] an older ack changes nothing", () => {
    const buffer = filled(5, 2)
    assert.strictEqual(buffer.trim(4), 0)
    assert.strictEqual(buffer.trim(1), 0)
    assert.deepStrictEqual(seqs(buffer), [5, 6])
  })
  it("[trim-all] can be emptied", () => {
    const buffer = filled(0, 4)
    buffer.trim(3)
    assert.deepStrictEqual([seqs(buffer), buffer.bytes, buffer.frames], [[], 0, 0])
  })
  it("[trim-empty] an empty buffer stays empty", () => {
    const buffer = filled(0, 0)
    assert.strictEqual(buffer.trim(99), 0)
    assert.strictEqual(buffer.frames, 0)
  })
  it("[push-after-trim] goes on with the next number", () => {
    const buffer = filled(0, 2)
    buffer.trim(1)
    assert.strictEqual(buffer.append(utf8("two"), undefined), 2)
    const [entry] = buffer.entries()
    const frame = Frame.decode(entry!.frame)
    assert.strictEqual(typeof frame === "string" ? frame : hex(frame.item), hex(utf8("two")))
  })
  it("[wrap-trim] trims across the wrap", () => {
    const buffer = filled(4294967294, 4)
    assert.deepStrictEqual(seqs(buffer), [4294967294, 4294967295, 0, 1])
    assert.strictEqual(buffer.trim(0), 3)
    assert.deepStrictEqual(seqs(buffer), [1])
  })
  it("is bounded in frames and in bytes, and refuses a window of half the number space", () => {
    const buffer = filled(0, 3, { bytes: 1000, frames: 3 })
    assert.isFalse(buffer.fits(0))
    buffer.trim(0)
    assert.isTrue(buffer.fits(0))
    assert.isFalse(buffer.fits(1000))
    assert.throws(() => new ReplayBuffer({ bytes: 1, frames: Serial.halfSpace }), RangeError)
  })
  it("gives frames once a link, whole slabs at a time, and all of them again after a rewind", () => {
    const buffer = filled(0, 900)
    const drain = () => {
      const items: Array<number> = []
      for (let run = buffer.take(); run !== undefined; run = buffer.take()) {
        for (const payload of StreamDecoder.payloads(run.bytes, run.start, run.end)) {
          const frame = Frame.decode(payload)
          if (typeof frame === "string") return assert.fail(frame)
          items.push(frame.seq)
        }
      }
      return items
    }
    assert.strictEqual(drain().length, 900)
    assert.deepStrictEqual(drain(), [])
    buffer.trim(99)
    buffer.rewind()
    assert.strictEqual(drain()[0], 100)
  })
  it("gives nothing at or after a held number", () => {
    const buffer = filled(0, 5)
    const run = buffer.take(2)!
    assert.strictEqual([...StreamDecoder.payloads(run.bytes, run.start, run.end)].length, 2)
    assert.isUndefined(buffer.take(2))
    assert.strictEqual(buffer.unsent, 3)
  })

  // The model is a list; numbers start just below the wrap in half of the runs.
  it.each(Array.from({ length: 200 }, (_, seed) => seed))("behaves like a list of frames (seed %i)", (seed) => {
    const random = seeded(seed)
    const first = seed % 2 === 0 ? 0 : (0x1_0000_0000 - random.below(50)) >>> 0
    const buffer = new ReplayBuffer({ bytes: 200_000, frames: 64 }, first)
    let model: Array<{ seq: number; frame: string }> = []
    let sent = 0
    let next = first
    for (let step = 0; step < 300; step++) {
      switch (random.below(4)) {
        case 0:
        case 1: {
          const item = random.bytes(random.below(10) === 0 ? random.below(70_000) : random.below(200))
          if (!buffer.fits(item.length)) break
          const ack = random.below(2) === 0 ? undefined : random.below(0xffff_ffff)
          assert.strictEqual(buffer.append(item, ack), next)
          model.push({ seq: next, frame: hex(Frame.encode({ seq: next, ack, item })) })
          next = Serial.next(next)
          break
        }
        case 2: {
          const count = random.below(model.length + 1)
          if (count === 0) break
          buffer.trim(model[count - 1]!.seq)
          model = model.slice(count)
          sent = Math.max(0, sent - count)
          break
        }
        case 3: {
          if (random.below(4) === 0) {
            buffer.rewind()
            sent = 0
          }
          const run = buffer.take()
          if (run === undefined) {
            assert.strictEqual(sent, model.length)
            break
          }
          for (const payload of StreamDecoder.payloads(run.bytes, run.start, run.end)) {
            assert.strictEqual(hex(payload), model[sent++]!.frame)
          }
        }
      }
      assert.strictEqual(buffer.frames, model.length)
      assert.strictEqual(buffer.unsent, model.length - sent)
      assert.strictEqual(buffer.bytes, model.reduce((sum, { frame }) => sum + frame.length / 2 + 4, 0))
    }
    assert.deepStrictEqual(
      Array.from(buffer.entries(), ({ frame, seq }) => ({ seq, frame: hex(frame) })),
      model
    )
  })
})

describe("Serial", () => {
  it("orders numbers across the wrap", () => {
    assert.isTrue(Serial.atOrBefore(4294967295, 0))
    assert.isTrue(Serial.atOrBefore(5, 5))
    assert.isFalse(Serial.atOrBefore(0, 4294967295))
    assert.isTrue(Serial.after(0, 4294967295))
    assert.strictEqual(Serial.next(4294967295), 0)
    assert.strictEqual(Serial.previous(0), 4294967295)
    assert.strictEqual(Serial.distance(4294967294, 1), 3)
  })
})
