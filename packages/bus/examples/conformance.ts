// The laws of adapters under plain node:test: `node --test examples/conformance.ts`. Put your own adapter in the place of this one.
import * as MemoryStore from "@perigee/bus/memory"
import * as Conformance from "@perigee/bus/conformance"
import { Effect } from "effect"
import { test } from "node:test"

for (const law of Conformance.laws({ place: Effect.succeed(MemoryStore.make()), isDurable: false })) {
  test(law.name, () => Effect.runPromise(law.run))
}
