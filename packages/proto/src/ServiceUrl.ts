/**
 * Addresses of brokers: `pulsar://host[:port][,host[:port]…]` and `pulsar+ssl://…`.
 *
 * One parser for service URLs, for what a lookup answers and for redirects, so that none of them dials what another would refuse.
 *
 * @since 0.1.0
 */

/** @category models @since 0.1.0 */
export interface BrokerAddress {
  /** Host name or address; IPv6 without brackets. */
  readonly host: string
  readonly port: number
}

/** @category models @since 0.1.0 */
export interface ServiceUrl {
  readonly tls: boolean
  /** At least one. */
  readonly addresses: ReadonlyArray<BrokerAddress>
}

/** @category models @since 0.1.0 */
export type ServiceUrlResult =
  | { readonly _tag: "Ok"; readonly url: ServiceUrl }
  | { readonly _tag: "Invalid"; readonly why: string }

/** `host:port`, IPv6 in brackets. @category combinators @since 0.1.0 */
export const formatAddress = ({ host, port }: BrokerAddress): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

/** @category combinators @since 0.1.0 */
export const format = (url: ServiceUrl): string =>
  `${url.tls ? "pulsar+ssl" : "pulsar"}://${url.addresses.map(formatAddress).join(",")}`

const invalid = (why: string): ServiceUrlResult => ({ _tag: "Invalid", why })

const HOST = /^[A-Za-z0-9._~-]+$/
const IPV6 = /^[0-9A-Fa-f:.]+(%[A-Za-z0-9._~-]+)?$/

const parseAuthority = (authority: string, defaultPort: number): BrokerAddress | string => {
  let host: string
  let port: string | undefined
  if (authority.startsWith("[")) {
    const close = authority.indexOf("]")
    if (close < 0) return "an IPv6 address without its closing bracket"
    host = authority.slice(1, close)
    const rest = authority.slice(close + 1)
    if (rest !== "" && !rest.startsWith(":")) return "characters behind a bracketed address"
    port = rest === "" ? undefined : rest.slice(1)
    if (!IPV6.test(host) || !host.includes(":")) return "brackets around what is no IPv6 address"
  } else {
    const parts = authority.split(":")
    if (parts.length > 2) return "an IPv6 address needs brackets"
    host = parts[0]!
    port = parts[1]
    if (!HOST.test(host)) return host === "" ? "an empty host" : "characters that no host name has"
  }
  if (port === undefined) return { host, port: defaultPort }
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535 || Number(port) === 0) {
    return "a port is a number from 1 to 65535"
  }
  return { host, port: Number(port) }
}

/** Reads a service URL; never fails by throwing. @category constructors @since 0.1.0 */
export const parse = (text: string): ServiceUrlResult => {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)/.exec(text)
  if (match === null) return invalid("a service URL begins with pulsar:// or pulsar+ssl://")
  const scheme = match[1]!.toLowerCase()
  if (scheme !== "pulsar" && scheme !== "pulsar+ssl") {
    return invalid(`scheme ${scheme.slice(0, 32)} is not supported, only pulsar and pulsar+ssl are`)
  }
  const tls = scheme === "pulsar+ssl"
  const addresses: Array<BrokerAddress> = []
  for (const authority of match[2]!.split(",")) {
    const address = parseAuthority(authority.trim(), tls ? 6651 : 6650)
    if (typeof address === "string") return invalid(address)
    addresses.push(address)
  }
  return { _tag: "Ok", url: { tls, addresses } }
}

/**
 * Which redirect targets are acceptable: all, those of some hosts (ports and case ignored), or some exact URLs.
 *
 * @category models
 * @since 0.1.0
 */
export type AllowList =
  | { readonly _tag: "Any" }
  | { readonly _tag: "Hosts"; readonly hosts: ReadonlyArray<string> }
  | { readonly _tag: "Exact"; readonly urls: ReadonlyArray<string> }

/** @category combinators @since 0.1.0 */
export const isAllowed = (list: AllowList, url: string): boolean => {
  const parsed = parse(url)
  if (parsed._tag === "Invalid") return false
  if (list._tag === "Any") return true
  if (list._tag === "Exact") return list.urls.includes(url)
  const hosts = new Set(list.hosts.map((host) => host.toLowerCase().replace(/^\[|\]$/g, "")))
  return parsed.url.addresses.every(({ host }) => hosts.has(host.toLowerCase()))
}
