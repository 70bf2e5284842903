import { exitCodes } from "../Failure.ts"

const signals = { SIGINT: exitCodes.interrupted, SIGTERM: exitCodes.terminated } as const

/** What the process ends with when it is interrupted: the code of the signal, unless being interrupted is how the command ends. */
export class Interruption {
  #signal: keyof typeof signals = "SIGINT"
  #since: number | undefined
  #outcome: number | undefined

  /** Listens for signals. */
  constructor() {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => this.#received(signal))
  }

  // A terminal signals the whole group and a supervisor may pass it on, so the same Ctrl-C can come twice; one that comes later means it.
  #received(signal: keyof typeof signals): void {
    const now = performance.now()
    if (this.#since !== undefined && now - this.#since > 1000) process.exit(signals[signal])
    if (this.#since === undefined) this.#signal = signal
    this.#since ??= now
  }

  /** The command has done what it was asked when it is interrupted, and this is how that went. */
  endsWith(code: number): void {
    this.#outcome = code
  }

  get exitCode(): number {
    return this.#outcome ?? signals[this.#signal]
  }
}

/** Of this process. */
export const interruption = new Interruption()
