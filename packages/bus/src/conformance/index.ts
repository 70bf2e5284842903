/**
 * `import * as Conformance from "@perigee/bus/conformance"`: the laws of {@link Adapter} as a suite for any test runner.
 *
 * ```ts
 * const subject = { place: Effect.succeed(MemoryStore.make()), isDurable: false }
 * for (const law of Conformance.laws(subject)) {
 *   it.live(law.name, () => law.run) // @effect/vitest
 *   test(law.name, () => Effect.runPromise(law.run)) // node:test, or any runner that takes promises
 * }
 * ```
 *
 * @since 0.1.0
 */
import { apply, type Law, type Subject } from "./Law.ts"
import { statements } from "./statements.ts"

export { type Law, LawViolation, type Opened, type Subject } from "./Law.ts"

/**
 * The laws for one adapter: each runs alone, on a place of its own. Laws about opening again are left out for one that is not durable.
 *
 * @category laws
 * @since 0.1.0
 */
export const laws = (subject: Subject): ReadonlyArray<Law> =>
  statements
    .filter(({ needsDurability }) => !needsDurability || subject.isDurable !== false)
    .map((statement) => apply(statement, subject))
