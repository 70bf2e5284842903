/**
 * Links and stores that need Node.
 *
 * @since 0.1.0
 */
export * as TcpLink from "./links/TcpLink.ts"
export * as TlsLink from "./links/TlsLink.ts"
export * as UnixLink from "./links/UnixLink.ts"
export * as FileStore from "./stores/FileStore.ts"
