/**
 * What a command says when it cannot do what it was asked.
 */
import * as Data from "effect/Data"
import * as Runtime from "effect/Runtime"

/** Exit codes of the `perigee` command. */
export const exitCodes = {
  ok: 0,
  /** Something nobody foresaw. */
  unexpected: 1,
  /** A flag, an argument, a filter or a cursor is wrong. */
  usage: 2,
  /** No node answers. */
  unreachable: 3,
  /** The node refused the token. */
  unauthorized: 4,
  /** Input could not be read, or some of its lines are no JSON. */
  input: 5,
  /** The node cannot start. */
  start: 6,
  /** Not everything is stored: the store is full or failing, or the node was stopping; or sends to a broker did not end well. */
  store: 7,
  /** A Pulsar broker refused: no such topic, subscription taken, schema. */
  refused: 8,
  /** Interrupted by SIGINT. */
  interrupted: 130,
  /** Ended by SIGTERM. */
  terminated: 143
} as const

/** A failure for people: what was asked, what was wrong, what to do. */
export class Failure extends Data.TaggedError("Failure")<{
  /** Stable, as `E_STATE_LOCKED`. */
  readonly code: string
  /** Whole sentences, without the code. */
  readonly message: string
  readonly exit: number
}> {
  override readonly [Runtime.errorReported] = false
  override readonly [Runtime.errorExitCode] = this.exit

  /** The line that is printed. */
  get text(): string {
    return `perigee: ${this.message} [${this.code}]`
  }
}

export const failure = (code: string, exit: keyof typeof exitCodes, message: string): Failure =>
  new Failure({ code, exit: exitCodes[exit], message })

/** A cause in one line, for the end of a sentence. */
export const describe = (cause: unknown): string => {
  const text = cause instanceof Error ? cause.message : String(cause)
  return text.split("\n", 1)[0]!.slice(0, 300)
}
