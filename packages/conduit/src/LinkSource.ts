/**
 * Where an initiator's links come from: the sole place that knows addresses and dialling. A conduit asks it for a link,
 * and when that one dies, for another; how often and how long is the conduit's reconnect schedule.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ClientHello } from "./core/Hello.ts"
import type { Link } from "./Link.ts"
import * as LinkErrors from "./LinkError.ts"
import type { LinkError } from "./LinkError.ts"

/**
 * A link, and on an acceptor's side the ClientHello that was already read from it. Its presence decides the role.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attachment {
  readonly link: Link
  readonly clientHello?: ClientHello | undefined
}

/**
 * An effectful provider of links; each belongs to the scope it was asked for in.
 *
 * @category models
 * @since 0.1.0
 */
export interface LinkSource {
  readonly description: string
  readonly next: Effect.Effect<Attachment, LinkError, Scope.Scope>
}

/**
 * A source that opens a fresh link each time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (description: string, open: Effect.Effect<Link, LinkError, Scope.Scope>): LinkSource => ({
  description,
  next: Effect.map(open, (link) => ({ link }))
})

/**
 * A source that yields the given attachments in turn and is then exhausted. A link that was handed out is destroyed
 * when its scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromAttachments = (attachments: Iterable<Attachment>): LinkSource => {
  const rest = [...attachments]
  const description = rest[0]?.link.description ?? "exhausted"
  return {
    description,
    next: Effect.suspend(() => {
      const attachment = rest.shift()
      if (attachment === undefined) return Effect.fail(LinkErrors.make(description, { _tag: "Exhausted" }))
      return Effect.acquireRelease(
        Effect.succeed(attachment),
        ({ link }) => Effect.sync(() => link.destroy())
      )
    })
  }
}

/**
 * A source of exactly one link: no reconnection.
 *
 * @category constructors
 * @since 0.1.0
 */
export const single = (link: Link): LinkSource => fromAttachments([{ link }])

/**
 * A source that fails at once.
 *
 * @category constructors
 * @since 0.1.0
 */
export const exhausted: LinkSource = /* @__PURE__ */ fromAttachments([])
