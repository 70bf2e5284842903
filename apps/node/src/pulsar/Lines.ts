/**
 * Lines of a stream of bytes, whatever they hold. Lines end with `\n` or `\r\n`, the last one also with the stream; blank ones are skipped
 * and counted. At most one unfinished line is held, and a longer one than allowed is not.
 */
const lf = 10
const cr = 13

export interface Line {
  /** From 1, over the whole stream. */
  readonly number: number
  /** A view of the stream's chunk where that is possible; undefined when the line is too long. */
  readonly bytes: Uint8Array | undefined
}

export class Lines {
  readonly #longest: number
  #number = 1
  #parts: Array<Uint8Array> = []
  #held = 0
  #tooLong = false

  constructor(longest: number) {
    this.#longest = longest
  }

  /** The lines that end in this chunk. */
  push(chunk: Uint8Array): Array<Line> {
    const lines: Array<Line> = []
    let from = 0
    for (let end = chunk.indexOf(lf); end !== -1; end = chunk.indexOf(lf, from)) {
      this.#hold(chunk.subarray(from, end))
      this.#cut(lines)
      this.#number++
      from = end + 1
    }
    if (from < chunk.length) this.#hold(chunk.subarray(from))
    return lines
  }

  /** The line that the stream ended with, if it had no end of its own. */
  end(): Array<Line> {
    const lines: Array<Line> = []
    this.#cut(lines)
    return lines
  }

  #hold(part: Uint8Array): void {
    // One more than allowed: that may be the `\r`.
    if (this.#held + part.length > this.#longest + 1) {
      this.#tooLong = true
      this.#parts = []
    }
    if (this.#tooLong) return
    this.#parts.push(part)
    this.#held += part.length
  }

  #cut(lines: Array<Line>): void {
    const whole = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts)
    const line = whole.at(-1) === cr ? whole.subarray(0, -1) : whole
    if (this.#tooLong || line.length > this.#longest) lines.push({ number: this.#number, bytes: undefined })
    else if (line.length > 0) lines.push({ number: this.#number, bytes: line })
    this.#parts = []
    this.#held = 0
    this.#tooLong = false
  }
}
