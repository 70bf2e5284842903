/**
 * What an adapter promises about an event that it has accepted: a claim in the type, checked when a bus is built.
 *
 * @since 0.1.0
 */

/**
 * What has to fail before an acknowledged event is lost.
 *
 * - `memory`: the process. Nothing outlives it.
 * - `os`: the operating system. The event is in the page cache or in another process, and survives `kill -9` but not a power cut.
 * - `fsync`: the disk. The event was forced to stable storage before it was acknowledged.
 * - `quorum`: a majority of machines. The event was replicated before it was acknowledged.
 *
 * @category models
 * @since 0.1.0
 */
export type Durability = "memory" | "os" | "fsync" | "quorum"

const rank: Record<Durability, number> = { memory: 0, os: 1, fsync: 2, quorum: 3 }

/**
 * Whether a claim is at least as strong as what is asked for.
 *
 * @category guards
 * @since 0.1.0
 */
export const isAtLeast = (claim: Durability, asked: Durability): boolean => rank[claim] >= rank[asked]
