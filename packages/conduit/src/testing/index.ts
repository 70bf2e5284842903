/**
 * For tests of programs built on conduits, and of links of one's own.
 *
 * @since 0.1.0
 */
export * as FaultLink from "./FaultLink.ts"
export * as Inspector from "./Inspector.ts"
export * as LinkLaws from "./LinkLaws.ts"
