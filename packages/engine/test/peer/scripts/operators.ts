/**
 * The operator of a script on either broker.
 */
import { Effect } from "effect"
import type { TestBroker } from "../../../src/testing/index.ts"
import type { PulsarBroker } from "../../support/PulsarBroker.ts"
import { type Operator, OperatorError } from "./Script.ts"

const path = (topic: string) => topic.replace("://", "/")
const refused = (cause: unknown) => new OperatorError({ message: String(cause), cause })

export const ofPulsar = (broker: PulsarBroker["Service"]): Operator => {
  const call = (method: string, to: string, body?: unknown) =>
    Effect.asVoid(Effect.mapError(broker.admin(method, to, body), refused))
  const partitioned = new Set<string>()
  return {
    setPartitions: (topic, count) => {
      const method = partitioned.has(topic) ? "POST" : "PUT"
      partitioned.add(topic)
      return call(method, `${path(topic)}/partitions`, count)
    },
    terminate: (topic) => call("POST", `${path(topic)}/terminate`),
    unload: (topic) => call("PUT", `${path(topic)}/unload`),
    deleteTopic: (topic) => call("DELETE", path(topic)),
    compact: (topic) =>
      Effect.andThen(
        call("PUT", `${path(topic)}/compaction`),
        Effect.mapError(broker.admin("GET", `${path(topic)}/compaction`), refused).pipe(
          Effect.delay(50),
          Effect.repeat({ until: (status) => (status as { readonly status: string }).status !== "RUNNING" }),
          Effect.timeoutOrElse({ duration: "20 seconds", orElse: () => Effect.fail(refused("it does not end")) }),
          Effect.asVoid
        )
      )
  }
}

export const ofTestBroker = (broker: TestBroker["Service"]): Operator => ({
  setPartitions: (topic, count) => Effect.mapError(broker.setPartitions(topic, count), refused),
  terminate: (topic) => Effect.mapError(broker.terminate(topic), refused),
  unload: (topic) => Effect.mapError(broker.unload(topic), refused),
  deleteTopic: (topic) => Effect.mapError(broker.deleteTopic(topic), refused),
  compact: (topic) => Effect.mapError(broker.compact(topic), refused)
})
