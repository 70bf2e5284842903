/** Payloads that carry a number, and the numbers in what a topic holds. */
import { inflateSync } from "node:zlib"
import type { StoredEntry } from "../../../src/testing/index.ts"

const LENGTH = 20

export const numberOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)

export const payloadOf = (value: number): Uint8Array => {
  const bytes = new Uint8Array(LENGTH)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

/** Numbers in the order of the topic; a batch has a prefix of `[u32 size][metadata]` before each payload. */
export const numbersOf = (entries: ReadonlyArray<StoredEntry>): ReadonlyArray<number> =>
  entries.flatMap(({ messages, payload }) => {
    // A stream of zlib begins with 0x78; the numbers and the sizes here are far below.
    const bytes = payload[0] === 0x78 ? Uint8Array.from(inflateSync(payload)) : payload
    if (messages === 1 && bytes.length === LENGTH) return [numberOf(bytes)]
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const numbers: Array<number> = []
    for (let at = 0; at < bytes.length;) {
      const start = at + 4 + view.getUint32(at)
      numbers.push(view.getUint32(start))
      at = start + LENGTH
    }
    return numbers
  })
