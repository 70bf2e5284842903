/** A hub in a worker thread: every port that is posted to it is a link. */
import { Effect, Scope, Stream } from "effect"
import { type MessagePort, parentPort } from "node:worker_threads"
import { ConduitHub, MessagePortLink } from "../src/index.ts"

const program = Effect.gen(function*() {
  const hub = yield* ConduitHub.make({
    onConduit: (conduit) => conduit.receive.pipe(Stream.runForEach((item) => conduit.send(item)))
  })
  const scope = yield* Effect.scope
  const run = Effect.runForkWith(yield* Effect.context<never>())
  parentPort!.on("message", (port: MessagePort) => {
    run(
      Effect.flatMap(MessagePortLink.make(port as unknown as MessagePortLink.PortLike), hub.accept).pipe(
        Scope.provide(scope)
      )
    )
  })
  return yield* Effect.never
})

Effect.runFork(Effect.scoped(program))
