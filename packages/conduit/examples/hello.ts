/** Two ends, a link that dies in between, and nothing lost: `node --conditions=@perigee/source examples/hello.ts`. */
import { ConduitHub, StableConduit } from "@perigee/conduit"
import { TcpLink } from "@perigee/conduit/node"
import { Effect, Stream } from "effect"

const text = new TextEncoder()
const program = Effect.gen(function*() {
  const listener = yield* TcpLink.listen()
  yield* ConduitHub.make({
    listen: Effect.succeed(listener),
    onConduit: (peer) => Stream.runForEach(peer.receive, (item) => peer.send(item))
  })
  const conduit = yield* StableConduit.dial(TcpLink.source({ host: listener.host, port: listener.port }))
  for (const word of ["a", "link", "may", "die"]) {
    yield* conduit.send(text.encode(word))
    yield* conduit.kick // the TCP connection is gone; the conversation is not
    console.log(new TextDecoder().decode(yield* conduit.take))
  }
  const { duplicates, links } = yield* conduit.metrics
  console.log({ links, duplicates })
  yield* conduit.close({ drain: "5 seconds" })
})

await Effect.runPromise(Effect.scoped(program))
