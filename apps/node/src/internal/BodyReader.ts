import type { IncomingMessage } from "node:http"

/** Why a body ended before its end. */
export type BodyFailure = "aborted" | "stopping"

/** Small pieces are joined up to this size: enough to spread the cost of a call, little enough for others to have their turn. */
const pieceBytes = 262_144

/**
 * Reads a request body in pieces as large as have arrived, reading ahead at most `highWater` bytes and one socket read; then the socket is
 * paused, and the sender feels it. For one consumer.
 */
export class BodyReader {
  readonly #request: IncomingMessage
  readonly #highWater: number
  #chunks: Array<Buffer> = []
  #bytes = 0
  #ended = false
  #failure: BodyFailure | undefined
  #wake: (() => void) | undefined

  constructor(request: IncomingMessage, highWater: number) {
    this.#request = request
    this.#highWater = highWater
    request.on("data", this.#onData)
    request.on("end", this.#onEnd)
    request.on("error", this.#onAbort)
    request.on("close", this.#onAbort)
    if (request.complete && request.readableEnded) this.#ended = true
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes >= this.#highWater) this.#request.pause()
    this.#notify()
  }

  readonly #onEnd = (): void => {
    this.#ended = true
    this.#notify()
  }

  readonly #onAbort = (): void => {
    if (!this.#ended) this.fail("aborted")
  }

  #notify(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Ends the reading early: what has arrived and was not taken is forgotten. */
  fail(failure: BodyFailure): void {
    if (this.#failure !== undefined || this.#ended) return
    this.#failure = failure
    this.#notify()
  }

  get failure(): BodyFailure | undefined {
    return this.#failure
  }

  /** What has arrived: bytes, null at the end of the body, undefined when there is nothing to take yet. */
  take(): Uint8Array | null | undefined {
    if (this.#bytes === 0) return this.#ended ? null : undefined
    let count = 1
    let bytes = this.#chunks[0]!.length
    while (count < this.#chunks.length && bytes + this.#chunks[count]!.length <= pieceBytes) {
      bytes += this.#chunks[count++]!.length
    }
    const taken = count === 1 ? this.#chunks.shift()! : Buffer.concat(this.#chunks.splice(0, count), bytes)
    this.#bytes -= bytes
    if (this.#bytes < this.#highWater && this.#request.isPaused()) this.#request.resume()
    return taken
  }

  /** Calls `wake` at the next change. */
  wait(wake: () => void): void {
    this.#wake = wake
  }

  /** Lets go of the request. */
  close(): void {
    this.#wake = undefined
    this.#request.off("data", this.#onData)
    this.#request.off("end", this.#onEnd)
    this.#request.off("error", this.#onAbort)
    this.#request.off("close", this.#onAbort)
  }
}
