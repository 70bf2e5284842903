// Hashing, routing and NDJSON decoding: the synchronous work on the publish path.
import { JsonLines } from "../src/core/JsonLines.ts"
import { Staging } from "../src/core/Staging.ts"

export interface Measured {
  readonly work: string
  readonly unit: string
  readonly value: number
}

const nanosEach = (times: number, f: () => void): number => {
  const from = process.hrtime.bigint()
  for (let i = 0; i < times; i++) f()
  return Number(process.hrtime.bigint() - from) / times
}

/** One payload of 200 bytes: staged and routed, from bytes and from a string. */
export const staging = (): ReadonlyArray<Measured> => {
  const area = new Staging()
  const text = `{"id":"ci11408890","mag":2.1,"place":"10km SSW of Idyllwild, CA","time":1388620296020}`.padEnd(200, " ")
  const bytes = Buffer.from(text)
  let sum = 0
  const bench = (f: () => void) => {
    nanosEach(200_000, f)
    return nanosEach(2_000_000, f)
  }
  const rows = [
    { work: "stage 200 B and route", unit: "ns", value: bench(() => (sum += area.route(area.stageBytes(bytes), 16))) },
    {
      work: "stage a string of 200 B and route",
      unit: "ns",
      value: bench(() => (sum += area.route(area.stageString(text), 16)))
    },
    { work: "route 200 B already staged", unit: "ns", value: bench(() => (sum += area.route(200, 16))) },
    { work: "validate 200 B already staged", unit: "ns", value: bench(() => (sum += area.validate(200))) }
  ]
  if (Number.isNaN(sum)) throw new Error("unreachable")
  return rows
}

/** NDJSON in chunks of 64 KiB: cut, validated, and routed too. */
export const ndjson = (bytes: Uint8Array, rounds = 5): ReadonlyArray<Measured> => {
  const run = (shards: number) => {
    const decoder = new JsonLines()
    const from = process.hrtime.bigint()
    let count = 0
    for (let at = 0; at < bytes.length; at += 65_536) {
      count += decoder.push(bytes.subarray(at, at + 65_536), shards).count
    }
    count += decoder.end(shards).count
    if (count === 0) throw new Error("no lines")
    return bytes.length / (Number(process.hrtime.bigint() - from) / 1000)
  }
  const median = (shards: number) =>
    Array.from({ length: rounds }, () => run(shards)).sort((a, b) => a - b)[rounds >> 1]!
  run(0)
  return [
    { work: "NDJSON cut and validated", unit: "MB/s", value: median(0) },
    { work: "NDJSON cut, validated and routed", unit: "MB/s", value: median(16) }
  ]
}
