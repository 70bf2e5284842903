import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Schema, Stream } from "effect"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { TestClock } from "effect/testing"
import { MemoryLink } from "../../src/index.ts"
import * as ConduitRpc from "../../src/rpc/ConduitRpc.ts"
import { FaultLink } from "../../src/testing/index.ts"

class NoSuch extends Schema.TaggedError<NoSuch>()("NoSuch", { key: Schema.String }) {}
class Api extends RpcGroup.make(
  Rpc.make("Add", { payload: { n: Schema.Int }, success: Schema.Int }),
  Rpc.make("Find", { payload: { key: Schema.String }, success: Schema.Int, error: NoSuch }),
  Rpc.make("Slow", { success: Schema.String }),
  Rpc.make("Count", { payload: { upTo: Schema.Int }, success: Schema.Int, stream: true })
) {}

const serializations = {
  ndjson: RpcSerialization.layerNdjson,
  json: RpcSerialization.layerJson,
  schemaBinary: RpcSerialization.layerSchemaBinary()
}

const setup = (serialization: Layer.Layer<RpcSerialization.RpcSerialization>) =>
  Effect.gen(function*() {
    const { listener, source } = yield* MemoryLink.make()
    const fault = yield* FaultLink.make(source)
    let total = 0
    let runs = 0
    const started = yield* Deferred.make<void>()
    const interrupted = yield* Deferred.make<void>()
    const Handlers = Api.toLayer({
      Add: ({ n }) =>
        Effect.sync(() => {
          runs++
          total += n
          return total
        }),
      Find: ({ key }) => Effect.fail(new NoSuch({ key })),
      Slow: () =>
        Effect.andThen(Deferred.succeed(started, undefined), Effect.never).pipe(
          Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
        ),
      Count: ({ upTo }) => Stream.range(1, upTo).pipe(Stream.rechunk(1))
    })
    yield* Layer.build(
      RpcServer.layer(Api).pipe(
        Layer.provide(Handlers),
        Layer.provide(ConduitRpc.layerServer({ listen: Effect.succeed(listener) })),
        Layer.provide(serialization)
      )
    )
    const protocol = yield* Layer.build(ConduitRpc.layerClient(fault.source).pipe(Layer.provideMerge(serialization)))
    const client = yield* RpcClient.make(Api).pipe(Effect.provideContext(protocol))
    return { client, fault, counts: () => ({ total, runs }), started, interrupted }
  })

for (const [name, serialization] of Object.entries(serializations)) {
  describe(`Effect RPC over a conduit (${name})`, () => {
    it.effect("a request sent once runs once, whatever happens to the links", () =>
      Effect.gen(function*() {
        const { client, counts, fault } = yield* setup(serialization)
        const calls = yield* Effect.forkChild(
          Effect.forEach(Array.from({ length: 100 }), () => Effect.tap(client.Add({ n: 1 }), () => Effect.yieldNow), {
            concurrency: 10
          }),
          { startImmediately: true }
        )
        for (let i = 0; i < 20; i++) {
          if (i % 3 === 0) yield* fault.refuse(2)
          yield* fault.cut
          yield* TestClock.adjust("400 millis")
        }
        yield* TestClock.adjust("1 minute")
        const results = yield* Fiber.join(calls)
        assert.deepStrictEqual(counts(), { total: 100, runs: 100 })
        assert.deepStrictEqual(results.toSorted((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i + 1))
        assert.isAbove(yield* fault.links, 3)
      }))

    it.effect("typed failures pass; a stream goes on where it was", () =>
      Effect.gen(function*() {
        const { client, fault } = yield* setup(serialization)
        assert.deepStrictEqual((yield* Effect.flip(client.Find({ key: "a" })))._tag, "NoSuch")
        let seen = 0
        const counting = yield* client.Count({ upTo: 200 }).pipe(
          Stream.tap(() => ++seen % 20 === 0 ? fault.cut : Effect.void),
          Stream.runCollect,
          (run) => Effect.forkChild(run, { startImmediately: true })
        )
        for (let i = 0; i < 60; i++) yield* TestClock.adjust("200 millis")
        assert.deepStrictEqual(yield* Fiber.join(counting), Array.from({ length: 200 }, (_, i) => i + 1))
        assert.isAbove(yield* fault.links, 5)
      }))

    it.effect("an outage of minutes fails no call; an interruption reaches the handler afterwards", () =>
      Effect.gen(function*() {
        const { client, fault, interrupted, started } = yield* setup(serialization)
        const slow = yield* Effect.forkChild(client.Slow(), { startImmediately: true })
        yield* Deferred.await(started)
        yield* fault.refuse(1000)
        yield* fault.cut
        yield* TestClock.adjust("5 minutes")
        assert.isUndefined(slow.pollUnsafe())
        yield* Effect.forkChild(Fiber.interrupt(slow), { startImmediately: true })
        yield* fault.refuse(0)
        yield* TestClock.adjust("10 seconds")
        yield* Deferred.await(interrupted)
        assert.strictEqual(yield* client.Add({ n: 1 }), 1)
      }))

    it.effect("a lost conduit fails pending calls and later ones", () =>
      Effect.gen(function*() {
        const { listener, source } = yield* MemoryLink.make()
        yield* Layer.build(
          RpcServer.layer(Api).pipe(
            Layer.provide(Api.toLayer({
              Add: ({ n }) => Effect.succeed(n),
              Find: ({ key }) => Effect.fail(new NoSuch({ key })),
              Slow: () => Effect.never,
              Count: () => Stream.empty
            })),
            Layer.provide(ConduitRpc.layerServer({ listen: Effect.succeed(listener), keep: { time: "1 second" } })),
            Layer.provide(serialization)
          )
        )
        const fault = yield* FaultLink.make(source)
        const protocol = yield* Layer.build(
          ConduitRpc.layerClient(fault.source).pipe(Layer.provideMerge(serialization))
        )
        const client = yield* RpcClient.make(Api).pipe(Effect.provideContext(protocol))
        const slow = yield* Effect.forkChild(Effect.flip(client.Slow()), { startImmediately: true })
        yield* TestClock.adjust("10 millis")
        // Longer than the server keeps a detached conduit.
        yield* fault.refuse(6)
        yield* fault.cut
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Fiber.join(slow))._tag, "RpcClientError")
        assert.strictEqual((yield* Effect.flip(client.Add({ n: 1 })))._tag, "RpcClientError")
      }))
  })
}
