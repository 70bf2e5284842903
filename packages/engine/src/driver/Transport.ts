/**
 * How a client reaches a broker: an Effect `Socket` for an address.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Socket from "effect/socket/Socket"
import type { ServiceUrl } from "@perigee/proto"

/** @category models @since 0.1.0 */
export interface DialRequest {
  readonly address: ServiceUrl.BrokerAddress
  readonly tls: boolean
  /** Milliseconds to connect in. */
  readonly timeout: number
}

/**
 * Gives sockets: acquiring a socket's reader is one dial. Replace it to go through a tunnel, a simulated network, or into a test's broker. What is
 * written may be written over once the broker has confirmed it: a way without a kernel in it copies what it is given.
 *
 * @category services
 * @since 0.1.0
 */
export class Transport extends Context.Service<Transport, {
  readonly socket: (request: DialRequest) => Effect.Effect<Socket.Socket>
}>()("@perigee/engine/Transport") {}
