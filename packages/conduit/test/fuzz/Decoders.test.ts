import { assert, describe, it } from "@effect/vitest"
import { fuzzModule } from "@perigee/sim/fuzz"
import { hex } from "../support.ts"
import { all } from "./targets.ts"

/** `FUZZ_MS` is how long coverage guides each decoder's inputs. */
const realMs = Number(process.env["FUZZ_MS"] ?? 400)
/** `FUZZ_INPUTS=10000000` is the long run: so many inputs, each through every decoder. */
const inputs = Number(process.env["FUZZ_INPUTS"] ?? 20_000)

describe("fuzz, guided by coverage", () => {
  it.each(all.map(({ name }) => name))("%s", { timeout: 600_000 }, async (name) => {
    const { crash, executions } = await fuzzModule(new URL("targets.ts", import.meta.url), name, { realMs })
    assert.isUndefined(crash, crash && `${crash.kind} ${hex(crash.minimised)}: ${String(crash.error)}`)
    assert.isAbove(executions, 0)
  })
})

/** Refuses buffers that the input at hand does not justify. */
const guarded = (body: (limit: (bytes: number) => void) => void) => {
  const Real = globalThis.Uint8Array
  let allowed = Infinity
  globalThis.Uint8Array = new Proxy(Real, {
    construct: (target, args, newTarget) => {
      if (typeof args[0] === "number" && args[0] > allowed) {
        throw new Error(`broken promise: a buffer of ${args[0]} bytes`)
      }
      return Reflect.construct(target, args, newTarget) as object
    }
  })
  try {
    body((bytes) => {
      allowed = bytes
    })
  } finally {
    globalThis.Uint8Array = Real
  }
}

describe("fuzz, blind", () => {
  it(`every decoder survives ${inputs} inputs, with bounded allocation`, { timeout: 14_400_000 }, () => {
    const { stackTraceLimit } = Error
    // Most inputs are refused by a throw; their stacks are of no use.
    Error.stackTraceLimit = 0
    let state = Number(process.env["FUZZ_SEED"] ?? 1) >>> 0
    const below = (limit: number) => {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      return (state >>> 0) % limit
    }
    const seeds = all.flatMap(({ seeds }) => seeds ?? [])
    const started = process.hrtime.bigint()
    const heap = () => process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers
    let before = 0
    let largest = 0
    try {
      guarded((limit) => {
        for (let i = 0; i < inputs; i++) {
          limit(Infinity)
          let input: Uint8Array
          if (below(3) === 0) {
            input = new Uint8Array(below(48))
            for (let at = 0; at < input.length; at++) input[at] = below(256)
          } else {
            input = seeds[below(seeds.length)]!.slice()
            for (let edits = below(5); edits >= 0 && input.length > 0; edits--) input[below(input.length)] = below(256)
            if (below(3) === 0) input = input.slice(0, below(input.length + 1))
          }
          for (const { accepts, maxAllocation, run } of all) {
            limit(maxAllocation!(input.length))
            try {
              run(input)
            } catch (error) {
              if (accepts?.(error) !== true) throw new Error(`input ${i} ${hex(input)}`, { cause: error })
            }
          }
          // What is live after warming up stays what it is: nothing is kept from one input to the next.
          if (i === 10_000) before = heap()
          if (i > 10_000 && i % 100_000 === 0) largest = Math.max(largest, heap())
        }
      })
    } finally {
      Error.stackTraceLimit = stackTraceLimit
    }
    assert.isBelow(largest - before, 256 * 1024 * 1024)
    if (inputs > 100_000) {
      const seconds = Number(process.hrtime.bigint() - started) / 1e9
      process.stderr.write(`conduit: ${inputs} inputs through ${all.length} decoders in ${seconds.toFixed(0)} s\n`)
    }
  })
})
