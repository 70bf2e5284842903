/** Collects written bytes; grows by doubling. */
export class ByteWriter {
  private out = new Uint8Array(64)
  private at = 0

  /** What was written. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.out.slice(0, this.at)
  }

  /** Room for the next bytes, to be filled in by the caller. */
  room(bytes: number): DataView {
    if (this.at + bytes > this.out.length) {
      const grown = new Uint8Array(Math.max(this.out.length * 2, this.at + bytes))
      grown.set(this.out)
      this.out = grown
    }
    const view = new DataView(this.out.buffer, this.at)
    this.at += bytes
    return view
  }

  byte(value: number): void {
    if (this.at === this.out.length) this.room(1)
    else this.at++
    this.out[this.at - 1] = value
  }

  bytes(bytes: Uint8Array): void {
    this.room(bytes.length)
    this.out.set(bytes, this.at - bytes.length)
  }
}
