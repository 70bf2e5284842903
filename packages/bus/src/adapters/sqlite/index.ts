/**
 * `import * as SqliteStore from "@perigee/bus/sqlite"`
 *
 * @since 0.1.0
 */
export * from "./SqliteStore.ts"
