/**
 * What is forwarded where: `out:CHANNEL=TOPIC` and `in:CHANNEL=TOPIC`, with `?name=NAME` and `?from=end` behind it.
 */
import * as Effect from "effect/Effect"
import { type Failure, failure } from "../Failure.ts"

export interface BridgeSpec {
  /** `out`: from the bus to the broker. `in`: from the broker to the bus. */
  readonly direction: "in" | "out"
  /** Channel of the bus. */
  readonly channel: string
  /** Full name, as `persistent://public/default/orders`. */
  readonly topic: string
  /** Who the bridge is to the broker: the name of its subscription, the beginning of those of its producers. Default: after the store and the channel. */
  readonly name: string | undefined
  /** Where a new bridge begins. Default `beginning`. */
  readonly from: "beginning" | "end"
}

const shape = /^(in|out):([^=?]+)=([^?]+)(?:\?(.*))?$/
const full = /^(?:persistent|non-persistent):\/\/[^/]+\/[^/]+\/.+$/

/** Full name of a topic, undefined for what is none. */
const topicName = (text: string): string | undefined => {
  if (full.test(text)) return text
  if (text.includes("://")) return undefined
  const parts = text.split("/")
  if (parts.some((part) => part === "")) return undefined
  return parts.length === 1
    ? `persistent://public/default/${text}`
    : parts.length === 3
    ? `persistent://${text}`
    : undefined
}

const wrong = (text: string, why: string): Effect.Effect<never, Failure> =>
  Effect.fail(failure(
    "E_BRIDGE",
    "usage",
    `--bridge ${text}: ${why}. It looks like out:orders=persistent://public/default/orders or in:orders=tenant/namespace/orders?from=end.`
  ))

const parse = Effect.fnUntraced(function*(text: string): Effect.fn.Return<BridgeSpec, Failure> {
  const match = shape.exec(text)
  if (match === null) return yield* wrong(text, "this is no bridge")
  const channel = match[2]!
  const topic = topicName(match[3]!)
  if (topic === undefined) return yield* wrong(text, `${match[3]} is no topic`)
  if (Buffer.byteLength(channel) > 255) return yield* wrong(text, "a channel's name has at most 255 bytes")
  const options = new URLSearchParams(match[4] ?? "")
  const from = options.get("from") ?? "beginning"
  if (from !== "beginning" && from !== "end") return yield* wrong(text, "from is beginning or end")
  const name = options.get("name") ?? undefined
  if (name === "" || (name !== undefined && name.length > 200)) {
    return yield* wrong(text, "a name has 1 to 200 characters")
  }
  for (const option of options.keys()) {
    if (option !== "from" && option !== "name") return yield* wrong(text, `there is no option ${option}`)
  }
  return { direction: match[1] as BridgeSpec["direction"], channel, topic, name, from }
})

/** Whether an event that enters at `from` comes back to it: it would go round for ever. */
const circles = (specs: ReadonlyArray<BridgeSpec>): BridgeSpec | undefined => {
  const edges = new Map<string, Array<string>>()
  const ends = ({ channel, direction, topic }: BridgeSpec): readonly [string, string] =>
    direction === "out" ? [`channel ${channel}`, `topic ${topic}`] : [`topic ${topic}`, `channel ${channel}`]
  for (const spec of specs) {
    const [from, to] = ends(spec)
    edges.set(from, [...edges.get(from) ?? [], to])
  }
  return specs.find((spec) => {
    const [start, next] = ends(spec)
    const seen = new Set<string>()
    const open = [next]
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      if (place === start) return true
      if (seen.has(place)) continue
      seen.add(place)
      open.push(...edges.get(place) ?? [])
    }
    return false
  })
}

/** Reads the bridges of a node; refuses two of the same kind, and any circle. */
export const parseAll = Effect.fnUntraced(
  function*(texts: ReadonlyArray<string>): Effect.fn.Return<ReadonlyArray<BridgeSpec>, Failure> {
    const specs: Array<BridgeSpec> = []
    for (const text of texts) {
      const spec = yield* parse(text)
      if (
        specs.some((other) =>
          other.direction === spec.direction && other.channel === spec.channel && other.topic === spec.topic
        )
      ) {
        return yield* wrong(text, "it is there twice")
      }
      specs.push(spec)
    }
    const circle = circles(specs)
    if (circle !== undefined) {
      return yield* failure(
        "E_BRIDGE",
        "usage",
        `--bridge ${circle.direction}:${circle.channel}=${circle.topic}: with the others it makes a circle, in which events would go round for ever.`
      )
    }
    return specs
  }
)
