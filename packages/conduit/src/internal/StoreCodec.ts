import * as Cbor from "../session/Cbor.ts"
import type { Change } from "../ConduitStore.ts"

/** Changes as CBOR: small arrays led by a code, so that a log stays readable by any tool. */
const codes = ["Keys", "Appended", "Trimmed", "Delivered"] as const

export const encode = (changes: ReadonlyArray<Change>): Uint8Array<ArrayBuffer> =>
  Cbor.encode(changes.map((change) => {
    const code = codes.indexOf(change._tag)
    if (change._tag === "Keys") return [code, change.keys]
    return change._tag === "Appended" ? [code, change.seq, change.item] : [code, change.seq]
  }))

/** Throws on anything that `encode` does not write. */
export const decode = (bytes: Uint8Array): ReadonlyArray<Change> => {
  const value = Cbor.decode(bytes)
  if (!Array.isArray(value)) throw new Error("not a list of changes")
  return value.map((entry): Change => {
    if (!Array.isArray(entry)) throw new Error("not a change")
    const [code, first, second] = entry as ReadonlyArray<Cbor.Cbor>
    const _tag = codes[Number(code)]
    if (_tag === "Keys" && Array.isArray(first)) return { _tag, keys: first.map(keyOf) }
    if (typeof first !== "number" || first >>> 0 !== first) throw new Error("not a number of an item")
    if (_tag === "Appended" && second instanceof Uint8Array) return { _tag, seq: first, item: second }
    if (_tag === "Trimmed" || _tag === "Delivered") return { _tag, seq: first }
    throw new Error("unknown change")
  })
}

const keyOf = (value: Cbor.Cbor): Uint8Array => {
  if (!(value instanceof Uint8Array) || value.length !== 16) throw new Error("not a key")
  return value
}
