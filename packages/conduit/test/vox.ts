/** As much of a vox session as a test needs, above any conduit: calls out, calls in, keepalive. */
import { Deferred, Effect, Stream } from "effect"
import { Keepalive, Message, Postcard, type StableConduit } from "../src/index.ts"

const text = Postcard.codec(Postcard.string)
const method = BigInt(7)

export interface Session {
  /** Calls the peer and waits for its answer. */
  readonly call: (argument: string) => Effect.Effect<string>
  /** Numbers of the calls that came from the peer, in the order of their arrival. */
  readonly called: Array<number>
  /** Schema bindings that the peer announced. */
  readonly schemas: Array<string>
  /** Items that are no message of a session. */
  readonly strange: Array<unknown>
}

export const numberOf = (argument: string): number => Number(argument.split(":", 1)[0])

/**
 * Runs a session over a conduit: answers every call with the text it brought.
 *
 * @param firstId 1 for the side with odd ids, 2 for the other
 * @param beforeAnswer runs between the arrival of a call and its answer
 */
export const run = Effect.fnUntraced(function*(
  conduit: StableConduit.StableConduit,
  firstId: 1 | 2,
  beforeAnswer: (call: number) => Effect.Effect<void> = () => Effect.void
) {
  const session = { called: [] as Array<number>, schemas: [] as Array<string>, strange: [] as Array<unknown> }
  const pending = new Map<bigint, Deferred.Deferred<string>>()
  let nextId = BigInt(firstId)
  const send = (message: Message.Message) => Effect.orDie(conduit.send(Message.codec.encode(message)))
  const handle = (item: Uint8Array): Effect.Effect<void> => {
    let message: Message.Message
    try {
      message = Message.codec.decode(item)
    } catch (cause) {
      return Effect.sync(() => void session.strange.push(cause))
    }
    const { connection, payload } = message
    if (payload._tag === "Schema") return Effect.sync(() => void session.schemas.push(payload.value.direction._tag))
    if (payload._tag !== "Request") return Effect.sync(() => void session.strange.push(payload._tag))
    const { body, id } = payload.value
    switch (body._tag) {
      case "Call": {
        const call = numberOf(text.decode(body.value.args))
        session.called.push(call)
        return Effect.andThen(
          beforeAnswer(call),
          send({
            connection,
            payload: {
              _tag: "Request",
              value: {
                id,
                body: {
                  _tag: "Response",
                  value: { metadata: [], result: body.value.args, schemas: new Uint8Array(0) }
                }
              }
            }
          })
        )
      }
      case "Response":
        return Deferred.succeed(pending.get(id)!, text.decode(body.value.result)).pipe(Effect.asVoid)
      case "Cancel":
        return Effect.void
    }
  }
  const items = yield* Keepalive.run(conduit, { interval: "100 millis", timeout: "5 seconds" })
  yield* Effect.forkScoped(Effect.ignore(Stream.runForEach(items, handle)))
  return {
    ...session,
    call: (argument) =>
      Effect.gen(function*() {
        const id = nextId
        nextId += BigInt(2)
        const answer = yield* Deferred.make<string>()
        pending.set(id, answer)
        yield* send({
          connection: BigInt(0),
          payload: {
            _tag: "Request",
            value: {
              id,
              body: {
                _tag: "Call",
                value: { method, metadata: [], args: text.encode(argument), schemas: new Uint8Array(0) }
              }
            }
          }
        })
        return yield* Deferred.await(answer)
      })
  } satisfies Session
})
