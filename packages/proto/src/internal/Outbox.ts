import { Deque } from "./Deque.ts"

/** Frames below this size are joined with their neighbours: one segment a write is what a socket likes best. */
const SMALL = 4096

/** Frames staged for the socket, in order. */
export class Outbox {
  /** Bytes staged. */
  bytes = 0
  readonly #frames = new Deque<Uint8Array>()

  push(frame: Uint8Array): void {
    this.#frames.push(frame)
    this.bytes += frame.length
  }

  /** Segments of about `limit` bytes, whole frames, small ones joined. */
  take(limit: number): Array<Uint8Array> {
    const segments: Array<Uint8Array> = []
    let run: Array<Uint8Array> = []
    let runBytes = 0
    let taken = 0
    const close = (): void => {
      if (run.length === 1) segments.push(run[0]!)
      else if (run.length > 1) {
        const joined = new Uint8Array(runBytes)
        let at = 0
        for (const frame of run) {
          joined.set(frame, at)
          at += frame.length
        }
        segments.push(joined)
      }
      run = []
      runBytes = 0
    }
    while (taken < limit) {
      const frame = this.#frames.shift()
      if (frame === undefined) break
      taken += frame.length
      if (frame.length < SMALL) {
        run.push(frame)
        runBytes += frame.length
      } else {
        close()
        segments.push(frame)
      }
    }
    close()
    this.bytes -= taken
    return segments
  }

  clear(): void {
    this.#frames.clear()
    this.bytes = 0
  }
}
