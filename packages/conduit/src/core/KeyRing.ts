import * as ResumeKey from "./ResumeKey.ts"

/**
 * The keys that may resume one conduit: the last one its initiator is known to hold, and every one issued since.
 *
 * An answer can be lost with its link, several times in a row, so "current and previous" is not enough. A key becomes
 * known-held when it is presented, or when the first frame arrives on the link whose ServerHello carried it; that
 * retires everything issued before it.
 *
 * @since 0.1.0
 */
export class KeyRing {
  private readonly keys: Array<Uint8Array>
  /** How many keys are kept; issuing one more drops the oldest that was never proven. */
  readonly limit: number

  constructor(limit = 8, keys: ReadonlyArray<Uint8Array> = []) {
    this.limit = Math.max(2, limit)
    this.keys = [...keys]
  }

  /** The valid keys, oldest first. */
  get valid(): ReadonlyArray<Uint8Array> {
    return this.keys
  }

  /** Adds a fresh key; returns the key that had to go, if any. */
  issue(key: Uint8Array): Uint8Array | undefined {
    this.keys.push(key)
    // The first key is the one known to be held: it outlives the unproven ones after it.
    return this.keys.length > this.limit ? this.keys.splice(1, 1)[0] : undefined
  }

  /** Marks a key as held by the initiator; returns the keys this retires. */
  prove(key: Uint8Array): ReadonlyArray<Uint8Array> {
    const index = this.keys.findIndex((candidate) => ResumeKey.equals(candidate, key))
    return index > 0 ? this.keys.splice(0, index) : []
  }

  /** Whether the key may resume the conduit; looks at every key however early one matches. */
  accepts(key: Uint8Array): boolean {
    let accepted = false
    for (const candidate of this.keys) accepted = ResumeKey.equals(candidate, key) || accepted
    return accepted
  }
}
