/**
 * CONNECT, CONNECTED and the challenges in between.
 *
 * @since 0.1.0
 */
import { encode, Type } from "../wire/Commands.ts"
import type { BaseCommand } from "../wire/gen/PulsarApi_pb.ts"
import { ServerError } from "../wire/gen/PulsarApi_pb.ts"
import { truncate } from "./Events.ts"
import type { Session } from "./Session.ts"

/** Protocol version this client speaks. @category constants @since 0.1.0 */
export const PROTOCOL_VERSION = 21

/** @category models @since 0.1.0 */
export interface Credentials {
  /** `none`, `token`, `tls`, `basic` … */
  readonly method: string
  readonly data: Uint8Array | undefined
}

/** @category models @since 0.1.0 */
export type ConnectionState = "idle" | "connecting" | "connected" | "challenged" | "closing" | "failed"

/** Name of an error number. @category combinators @since 0.1.0 */
export const errorName = (code: number): string =>
  Object.entries(ServerError).find(([, value]) => value === code)?.[0] ?? `error ${code}`

export class Handshake {
  state: ConnectionState = "idle"
  /** What the broker said when it refused the connection. */
  refusal: { readonly code: number; readonly message: string } | undefined = undefined
  serverVersion = ""
  protocolVersion = 0
  readonly #clientVersion: string
  readonly #proxyTarget: string | undefined
  readonly #session: Session

  constructor(session: Session, clientVersion: string, proxyTarget: string | undefined) {
    this.#session = session
    this.#clientVersion = clientVersion
    this.#proxyTarget = proxyTarget
  }

  begin(credentials: Credentials): void {
    this.state = "connecting"
    this.refusal = undefined
    this.#session.isConnected = false
    this.#session.push(encode({
      type: Type.CONNECT,
      connect: {
        clientVersion: this.#clientVersion,
        authMethodName: credentials.method,
        ...(credentials.data === undefined ? {} : { authData: credentials.data }),
        protocolVersion: PROTOCOL_VERSION,
        ...(this.#proxyTarget === undefined ? {} : { proxyToBrokerUrl: this.#proxyTarget }),
        featureFlags: {
          supportsAuthRefresh: true,
          supportsBrokerEntryMetadata: true,
          supportsPartialProducer: true,
          supportsTopicWatchers: true,
          supportsGetPartitionedMetadataWithoutAutoCreation: true
        }
      }
    }))
  }

  connected(command: BaseCommand): void {
    const { connected } = command
    if (connected === undefined || (this.state !== "connecting" && this.state !== "challenged")) return
    this.state = "connected"
    this.#session.isConnected = true
    this.serverVersion = truncate(connected.serverVersion)
    this.protocolVersion = connected.protocolVersion
    if (connected.maxMessageSize > 0) this.#session.maxMessageSize = connected.maxMessageSize
    this.#session.events.push({
      _tag: "Connected",
      serverVersion: this.serverVersion,
      protocolVersion: this.protocolVersion
    })
  }

  challenge(command: BaseCommand): void {
    const { challenge } = command.authChallenge ?? {}
    if (this.state === "connecting") this.state = "challenged"
    this.#session.events.push({
      _tag: "AuthChallenge",
      method: truncate(challenge?.authMethodName ?? ""),
      data: challenge?.authData ?? new Uint8Array(0)
    })
  }

  respond(credentials: Credentials): void {
    this.#session.push(encode({
      type: Type.AUTH_RESPONSE,
      authResponse: {
        clientVersion: this.#clientVersion,
        protocolVersion: PROTOCOL_VERSION,
        response: {
          authMethodName: credentials.method,
          ...(credentials.data === undefined ? {} : { authData: credentials.data })
        }
      }
    }))
  }

  /** An ERROR before the session stood: kept, so that the one who connects learns why. */
  refused(code: number, message: string): void {
    if (this.#session.isConnected) return
    this.refusal = { code, message: truncate(message) }
  }
}
