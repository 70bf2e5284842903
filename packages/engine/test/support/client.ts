/** The client against the broker in the process. */
import { Effect, Layer } from "effect"
import type { Socket } from "effect/socket"
import type { ServiceUrl } from "@perigee/proto"
import { PulsarClient, type PulsarClientOptions, Transport } from "../../src/index.ts"
import { TestBroker, type TestBrokerOptions } from "../../src/testing/index.ts"

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
export const text = (payload: Uint8Array): string => new TextDecoder().decode(payload)

/** Dials into the testing broker. */
export const transport = Layer.effect(
  Transport,
  Effect.map(TestBroker, (broker) =>
    Transport.of({
      socket: ({ address }: { readonly address: ServiceUrl.BrokerAddress }): Effect.Effect<Socket.Socket> =>
        Effect.sync(() => broker.dial(`${address.host}:${address.port}`))
    }))
)

/** A client and the broker it talks to. */
export const layer = (options: Partial<PulsarClientOptions> = {}, broker: TestBrokerOptions = {}) =>
  PulsarClient.layerTransport({ serviceUrl: "pulsar://broker-0.test:6650", ...options }).pipe(
    Layer.provideMerge(transport),
    Layer.provideMerge(TestBroker.layer(broker))
  )
