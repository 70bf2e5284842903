/**
 * A law of adapters, and its violation.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Adapter, AdapterError } from "../Adapter.ts"

/** An opened adapter. */
export type Opened = Adapter["Service"]

/**
 * The adapter under test.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject {
  /**
   * Provides a place without data, for one law, and says how to open the adapter on it. What is opened is closed with its scope before
   * it is opened again on the same place.
   */
  readonly place: Effect.Effect<Effect.Effect<Opened, unknown, Scope.Scope>, unknown, Scope.Scope>
  /** Whether events outlive the adapter's scope. Default true; without, the laws about opening again are left out. */
  readonly isDurable?: boolean | undefined
}

/**
 * How an adapter broke a law.
 *
 * @category errors
 * @since 0.1.0
 */
export class LawViolation extends Data.TaggedError("LawViolation")<{
  readonly law: string
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `${this.law}: ${this.detail}`
  }
}

/**
 * A named law, ready to run against one subject.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  readonly name: string
  readonly run: Effect.Effect<void, LawViolation>
}

/** What the body of a law may fail with; everything else is a violation too. */
export class Broken extends Data.TaggedError("Broken")<{ readonly detail: string }> {}

export type Body<A = void> = Effect.Effect<A, Broken | AdapterError, Scope.Scope>

/** Opens the adapter on the law's place. */
export type Open = Effect.Effect<Opened, Broken, Scope.Scope>

/** A law before it has a subject. */
export interface Statement {
  readonly name: string
  readonly needsDurability: boolean
  readonly body: (open: Open) => Body
}

/** A law about an adapter that is open. */
export const law = (name: string, body: (adapter: Opened) => Body): Statement => ({
  name,
  needsDurability: false,
  body: (open) => Effect.flatMap(open, body)
})

/** A law about opening and closing. */
export const lawOfOpening = (name: string, body: (open: Open) => Body): Statement => ({
  name,
  needsDurability: false,
  body
})

/** A law about what is there when an adapter is opened again. */
export const lawOfReopening = (name: string, body: (open: Open) => Body): Statement => ({
  name,
  needsDurability: true,
  body
})

/** Gives a statement its subject. */
export const apply = (statement: Statement, subject: Subject): Law => {
  const violation = (detail: string, cause?: unknown) => new LawViolation({ law: statement.name, detail, cause })
  const cannotOpen = (cause: unknown) => new Broken({ detail: `the adapter does not open: ${String(cause)}` })
  return {
    name: statement.name,
    run: Effect.mapError(subject.place, cannotOpen).pipe(
      Effect.flatMap((open) => statement.body(Effect.mapError(open, cannotOpen))),
      Effect.scoped,
      Effect.timeoutOrElse({
        duration: "20 seconds",
        orElse: () => Effect.fail(new Broken({ detail: "no answer within 20 seconds" }))
      }),
      Effect.mapError((error) =>
        violation(error._tag === "Broken" ? error.detail : `unexpected failure: ${error.message}`, error)
      ),
      Effect.catchDefect((defect) => Effect.fail(violation(`the adapter died: ${String(defect)}`, defect)))
    )
  }
}

/** Fails unless `condition` holds. */
export const check = (condition: boolean, detail: () => string): Effect.Effect<void, Broken> =>
  condition ? Effect.void : Effect.fail(new Broken({ detail: detail() }))

/** Fails unless both have the same JSON form (`bigint` as text). */
export const same = (actual: unknown, expected: unknown, what: string): Effect.Effect<void, Broken> =>
  Effect.suspend(() => {
    const [a, b] = [show(actual), show(expected)]
    return check(a === b, () => `${what} is ${shorten(a)}, not ${shorten(b)}`)
  })

const show = (value: unknown): string =>
  JSON.stringify(value, (_, member: unknown) => typeof member === "bigint" ? `${member}` : member) ?? "undefined"

const shorten = (text: string): string => text.length > 300 ? `${text.slice(0, 300)}…` : text

/** Succeeds when `effect` fails with this reason. */
export const failsWith = (
  effect: Effect.Effect<unknown, AdapterError, never>,
  tag: AdapterError["reason"]["_tag"],
  what: string
): Effect.Effect<void, Broken> =>
  Effect.matchEffect(effect, {
    onSuccess: () => Effect.fail(new Broken({ detail: `${what} succeeds` })),
    onFailure: (error) => check(error.reason._tag === tag, () => `${what} fails with ${error.reason._tag}, not ${tag}`)
  })
