/** The page: shows the feed, says where its link stands, and notices if a number were ever missing. */
import { StableConduit, WebSocketLink } from "@perigee/conduit"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

interface Page {
  readonly location: { readonly host: string }
  readonly document: { readonly getElementById: (id: string) => { textContent: string } }
}
const { document, location } = globalThis as unknown as Page
const numbers: Array<number> = []
Object.assign(globalThis, { numbers })

const show = Effect.gen(function*() {
  const conduit = yield* StableConduit.dial(WebSocketLink.source({ url: `ws://${location.host}/feed` }))
  yield* conduit.status.pipe(
    Stream.runForEach((status) =>
      Effect.sync(() => {
        document.getElementById("status").textContent = status._tag
      })
    ),
    Effect.forkScoped
  )
  yield* Stream.runForEach(conduit.receive, (item) =>
    Effect.sync(() => {
      numbers.push(Number(new TextDecoder().decode(item)))
      document.getElementById("number").textContent = String(numbers.at(-1))
    }))
})

Effect.runFork(Effect.scoped(show))
