/**
 * Where on a topic to begin, as people write it.
 */
import { MessageId } from "@perigee/engine"

export type Position =
  | { readonly _tag: "Earliest" }
  | { readonly _tag: "Latest" }
  /** At this message, itself included. */
  | { readonly _tag: "At"; readonly id: MessageId.MessageId }
  /** At the first message published at or after this time, milliseconds since the epoch. */
  | { readonly _tag: "Since"; readonly millis: number }

const id = /^(\d{1,18}):(\d{1,18})(?::(-1|\d{1,9}))?(?::(-1|\d{1,9}))?$/
const ago = /^(\d{1,9})(s|m|h|d)$/
const units = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `now` in milliseconds since the epoch; undefined for what is no position. */
export const parse = (text: string, now: number): Position | undefined => {
  switch (text) {
    case "earliest":
    case "beginning":
      return { _tag: "Earliest" }
    case "latest":
    case "end":
    case "now":
      return { _tag: "Latest" }
  }
  const place = id.exec(text)
  if (place !== null) {
    return {
      _tag: "At",
      id: MessageId.make(
        BigInt(place[1]!),
        BigInt(place[2]!),
        Number(place[3] ?? -1),
        Number(place[4] ?? -1)
      )
    }
  }
  const back = ago.exec(text)
  if (back !== null) {
    return { _tag: "Since", millis: Math.max(0, now - Number(back[1]) * units[back[2] as keyof typeof units]) }
  }
  const millis = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isSafeInteger(millis) && millis >= 0 ? { _tag: "Since", millis } : undefined
}
