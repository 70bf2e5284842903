/**
 * Where an acceptor's links come from.
 *
 * @since 0.1.0
 */
import type { Link } from "./Link.ts"

/**
 * Something that peers can reach. One bad connection never ends it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listener {
  /** What it listens on, for example `tcp 127.0.0.1:4000`. */
  readonly description: string
  /** Says who takes the links; called once. Each link is the taker's to destroy. */
  readonly onLink: (take: (link: Link) => void) => void
}
