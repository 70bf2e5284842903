/**
 * Notices a broker that accepts an attach and then drops the socket, again and again.
 *
 * @since 0.1.0
 */

/** All times in milliseconds. @category models @since 0.1.0 */
export interface AntiThrashOptions {
  /** Attach-and-drop pairs that make a thrash. */
  readonly attaches: number
  /** From the earliest attach to the latest drop. */
  readonly window: number
  /** How soon after its attach a drop counts. */
  readonly dropWithin: number
  /** How long to keep away. */
  readonly cooldown: number
}

/** @category constants @since 0.1.0 */
export const recommended: AntiThrashOptions = { attaches: 5, window: 2000, dropWithin: 50, cooldown: 30_000 }

/** Without options everything is a no-op. @category models @since 0.1.0 */
export class AntiThrash {
  readonly options: AntiThrashOptions | undefined
  #entries: Array<{ readonly attachedAt: number; droppedAt: number | undefined }> = []
  #cooldownUntil: number | undefined
  #pendingFirstOperation = false

  constructor(options?: AntiThrashOptions | undefined) {
    this.options = options
  }

  /** When the cooldown ends, `undefined` without one. */
  get cooldownUntil(): number | undefined {
    return this.#cooldownUntil
  }

  /** A producer attached. */
  attached(now: number): void {
    if (this.options === undefined) return
    this.#entries.push({ attachedAt: now, droppedAt: undefined })
    const capacity = Math.max(2 * this.options.attaches, 2)
    if (this.#entries.length > capacity) this.#entries.shift()
    this.#pendingFirstOperation = true
  }

  /** The socket dropped; says whether that began a cooldown. */
  dropped(now: number): boolean {
    const options = this.options
    if (options === undefined) return false
    const newest = this.#entries.findLast((entry) => entry.droppedAt === undefined)
    if (newest === undefined || now - newest.attachedAt > options.dropWithin) return false
    newest.droppedAt = now
    if (this.#cooldownUntil !== undefined) return false
    const last = this.#entries.slice(-options.attaches)
    if (last.length < options.attaches || last.some((entry) => entry.droppedAt === undefined)) return false
    if (now - last[0]!.attachedAt > options.window) return false
    this.#cooldownUntil = now + options.cooldown
    return true
  }

  /** An operation succeeded; says whether that ended a suspicion. */
  succeeded(): boolean {
    if (!this.#pendingFirstOperation) return false
    this.#pendingFirstOperation = false
    const suspicious = this.#cooldownUntil !== undefined || this.#entries.some((entry) => entry.droppedAt !== undefined)
    this.#entries = []
    this.#cooldownUntil = undefined
    return suspicious
  }

  /** The cooldown was slept through. */
  clearCooldown(): void {
    this.#cooldownUntil = undefined
  }
}
