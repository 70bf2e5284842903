/**
 * Plants defects in the conduit, one at a time, and runs the main story: each must be caught within so many seeds, and
 * the story must pass without them. A judge that cannot fail proves nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import { Campaign, Seed } from "@perigee/sim"
import { Layer } from "effect"
import { vi } from "vitest"
import { ConduitState } from "../../src/core/ConduitState.ts"
import * as Frame from "../../src/core/Frame.ts"
import { HubState } from "../../src/core/HubState.ts"
import type * as Serial from "../../src/core/Serial.ts"
import { ReplayBuffer } from "../../src/core/ReplayBuffer.ts"
import { KeySource } from "../../src/index.ts"
import { Confirmations } from "../../src/internal/Confirmations.ts"
import { Engine } from "../../src/internal/Engine.ts"
import { delivery, options } from "./support/delivery.ts"

const defect = vi.hoisted(() => ({ plainComparison: false }))
vi.mock("../../src/core/Serial.ts", async (original) => {
  const real = await original<typeof Serial>()
  return {
    ...real,
    atOrBefore: (a: number, b: number) => defect.plainComparison ? a <= b : real.atOrBefore(a, b)
  }
})

/** Replaces a method for the time of one campaign. */
const method = <C extends object, K extends keyof C>(prototype: C, name: K, make: (original: C[K]) => C[K]) => () => {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name)!
  Object.defineProperty(prototype, name, { ...descriptor, value: make(descriptor.value as C[K]) })
  return () => void Object.defineProperty(prototype, name, descriptor)
}
/** Replaces a getter. */
const getter =
  <C extends object, K extends keyof C>(prototype: C, name: K, make: (self: C, original: C[K]) => C[K]) => () => {
    const descriptor = Object.getOwnPropertyDescriptor(prototype, name)!
    Object.defineProperty(prototype, name, {
      ...descriptor,
      get(this: C) {
        return make(this, descriptor.get!.call(this) as C[K])
      }
    })
    return () => void Object.defineProperty(prototype, name, descriptor)
  }

const sameKey = () => Layer.succeed(KeySource, () => new Uint8Array(16).fill(7))

interface Mutant {
  readonly plant: () => () => void
  readonly keys?: Parameters<typeof delivery>[0]
}

const mutants: Record<string, Mutant> = {
  "a replay leaves out its first frame": {
    plant: method(ReplayBuffer.prototype, "rewind", (rewind) =>
      function(this: ReplayBuffer) {
        rewind.call(this)
        if (this.frames > 1) {
          const self = this as unknown as {
            readonly slabs: ReadonlyArray<{ readonly bytes: Uint8Array; readonly start: number }>
            cursorOffset: number
            cursorSeq: number
          }
          const first = self.slabs[0]!
          self.cursorOffset = first.start + 4 + new DataView(first.bytes.buffer).getUint32(first.start, true)
          self.cursorSeq = (self.cursorSeq + 1) >>> 0
        }
      })
  },
  "a new link does not replay at all": {
    plant: method(ReplayBuffer.prototype, "rewind", () => () => {})
  },
  "a frame that came before is delivered again": {
    plant: method(
      ConduitState.prototype,
      "payload",
      (payload) =>
        function(this: ConduitState, bytes, offset, length, owned) {
          const before = this.counters.duplicates
          const accepted = payload.call(this, bytes, offset, length, owned)
          if (this.counters.duplicates > before) {
            const frame = Frame.decode(bytes.slice(offset, offset + length)) as Frame.Frame
            this.collector.add(frame.item, 0, frame.item.length, frame.seq, true)
          }
          return accepted
        }
    )
  },
  "what was acknowledged is kept": {
    plant: method(ReplayBuffer.prototype, "trim", () => () => 0)
  },
  "too much is trimmed": {
    plant: method(ReplayBuffer.prototype, "trim", (trim) =>
      function(this: ReplayBuffer, ack) {
        return trim.call(this, this.frames > 3 ? (ack + 1) >>> 0 : ack)
      })
  },
  "items are acknowledged before the consumer is done with them": {
    plant: method(
      ConduitState.prototype,
      "payload",
      (payload) =>
        function(this: ConduitState, bytes, offset, length, owned) {
          const accepted = payload.call(this, bytes, offset, length, owned)
          this.delivered = this.received
          return accepted
        }
    )
  },
  "a send is confirmed when it is accepted": {
    plant: method(Confirmations.prototype, "add", () => (_, done) => {
      done(undefined)
      return () => {}
    })
  },
  "numbers are compared without the wrap": {
    plant: () => {
      defect.plainComparison = true
      return () => {
        defect.plainComparison = false
      }
    }
  },
  "a hello claims one more than was received": {
    plant: getter(
      ConduitState.prototype,
      "helloReceived",
      (_, received) => received === undefined ? undefined : (received + 1) >>> 0
    )
  },
  "a hello claims one less, and the peer believes it": {
    plant: getter(
      ConduitState.prototype,
      "helloReceived",
      (self, received) => received === undefined || self.counters.framesReceived < 2 ? received : (received - 1) >>> 0
    )
  },
  "an unsent item gets a second number when the link is lost": {
    plant: method(Engine.prototype, "linkFailed", (linkFailed) =>
      function(this: Engine, link, error) {
        const { buffer } = this.state
        const last = [...buffer.entries()].at(-1)
        linkFailed.call(this, link, error)
        if (last !== undefined && this.terminal === undefined && buffer.fits(4100)) {
          this.state.append((Frame.decode(last.frame) as Frame.Frame).item)
        }
      })
  },
  "every link gets the same key": { plant: () => () => {}, keys: sameKey },
  "keys are never retired": {
    plant: method(HubState.prototype as HubState<number>, "prove", () => () => {})
  },
  "any key is good for somebody": {
    plant: method(HubState.prototype as HubState<number>, "route", (route) =>
      function(this: HubState<number>, hello) {
        const right = route.call(this, hello)
        return right._tag === "Reject" && right.why === "unknown-key" ? { _tag: "Attach", id: 1 } : right
      })
  }
}

const campaign = (keys: Mutant["keys"], seeds: number) =>
  Campaign.campaign(Campaign.define("the main story, with a defect", { ...options, corpus: false }, delivery(keys)), {
    base: Seed.make(1),
    seeds,
    shrink: false
  })

describe("planted defects", () => {
  it("without one, the story passes", async () => {
    const { failure } = await campaign(undefined, 20)
    assert.isUndefined(failure?.result.verdict.message)
  })
  it.each(Object.keys(mutants))("%s: caught", async (name) => {
    const { keys, plant } = mutants[name]!
    const remove = plant()
    try {
      const { failure, tally } = await campaign(keys, 60)
      assert.isDefined(failure, `not caught in ${tally.runs} seeds`)
      process.stderr.write(
        `conduit: caught by seed ${failure.result.config.seed}: ${failure.result.verdict.name} (${name})\n`
      )
    } finally {
      remove()
    }
  })
})
