/**
 * A certificate authority and what it signed, made with the `openssl` program: P-256 keys, PKCS#8, ten years.
 */
import { Effect } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "./PeerCache.ts"

/** Paths of PEM files. */
export interface Certificates {
  readonly ca: string
  readonly serverCert: string
  readonly serverKey: string
  /** A client certificate with the common name `admin`. */
  readonly clientCert: string
  readonly clientKey: string
  /** An authority that signed none of the others. */
  readonly otherCa: string
}

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

export const make = Effect.fn("Certificates.make")(function*(folder: string) {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const openssl = (...args: ReadonlyArray<string>) => run("openssl", args, folder)
  for (const name of ["ca", "other-ca"]) {
    yield* openssl(
      "req",
      "-x509",
      ...KEY,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.pem`,
      "-days",
      "3650",
      "-subj",
      `/CN=${name}`
    )
  }
  const sign = Effect.fnUntraced(function*(name: string, commonName: string, extension: string) {
    writeFileSync(join(folder, `${name}.ext`), `${extension}\n`)
    yield* openssl("req", ...KEY, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${commonName}`)
    yield* openssl(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      "-CAcreateserial",
      "-days",
      "3650",
      "-extfile",
      `${name}.ext`,
      "-out",
      `${name}.pem`
    )
  })
  yield* sign("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
  yield* sign("client", "admin", "extendedKeyUsage=clientAuth")
  const at = (name: string) => join(folder, name)
  return {
    ca: at("ca.pem"),
    serverCert: at("server.pem"),
    serverKey: at("server.key"),
    clientCert: at("client.pem"),
    clientKey: at("client.key"),
    otherCa: at("other-ca.pem")
  } satisfies Certificates
})
