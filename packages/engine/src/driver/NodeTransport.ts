/**
 * TCP and TLS by Node.
 *
 * @since 0.1.0
 */
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { isIP } from "node:net"
import * as TcpSocket from "./TcpSocket.ts"
import { Transport } from "./Transport.ts"

/** @category models @since 0.1.0 */
export interface TlsOptions {
  /** PEM of the authorities to trust, in place of the system's. */
  readonly trust?: string | undefined
  /** PEM of the client's certificate and key, for `Auth.tls`. */
  readonly certificate?: string | undefined
  readonly key?: Redacted.Redacted<string> | undefined
  /** Whether the certificate must name the host. Default `true`; the chain is checked in any case. */
  readonly verifyHost?: boolean | undefined
  /** Accept any certificate: for development. Default `false`. */
  readonly allowInsecure?: boolean | undefined
}

/** @category layers @since 0.1.0 */
export const layer = (tls: TlsOptions = {}): Layer.Layer<Transport> =>
  Layer.succeed(
    Transport,
    Transport.of({
      socket: ({ address, timeout, tls: secure }) =>
        secure
          ? NodeSocket.makeTls({
            host: address.host,
            port: address.port,
            openTimeout: timeout,
            minVersion: "TLSv1.2",
            ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
            ...(tls.trust === undefined ? {} : { ca: tls.trust }),
            ...(tls.certificate === undefined ? {} : { cert: tls.certificate }),
            ...(tls.key === undefined ? {} : { key: Redacted.value(tls.key) }),
            ...(tls.verifyHost === false ? { checkServerIdentity: () => undefined } : {}),
            rejectUnauthorized: tls.allowInsecure !== true
          })
          : Effect.succeed(TcpSocket.make({ host: address.host, port: address.port, timeout }))
    })
  )
