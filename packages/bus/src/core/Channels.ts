/**
 * Channel names as small numbers, so that an event carries two bytes instead of a name.
 */

/** Index 0 stands for no channel. */
export const MAX_CHANNELS = 65_535
/** UTF-8 bytes of a name, at most. */
export const MAX_CHANNEL_BYTES = 255

const encoder = new TextEncoder()

/** The names one bus has seen, in order of appearance; never forgets. */
export class Channels {
  readonly names: Array<string> = [""]
  readonly #index = new Map<string, number>()

  /** The number of a name; -1 when it is empty, too long, or one too many. */
  indexOf(name: string): number {
    const known = this.#index.get(name)
    if (known !== undefined) return known
    if (name === "" || this.names.length > MAX_CHANNELS || encoder.encode(name).length > MAX_CHANNEL_BYTES) return -1
    const index = this.names.length
    this.names.push(name)
    this.#index.set(name, index)
    return index
  }
}
