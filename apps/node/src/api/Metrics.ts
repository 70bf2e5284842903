/**
 * The figures of a node in the text format of Prometheus, version 0.0.4.
 */
import type * as Api from "./Api.ts"

type Stats = typeof Api.Stats.Type

/** Figures of the bus that go down as well as up. */
const gauges = new Set(["pending", "pending_bytes", "queued", "queued_bytes", "target_batch_size"])

const help: Record<string, string> = {
  accepted: "Events that entered a ring.",
  rejected: "Events refused because a ring was full or they were too large.",
  unrouted: "Events refused because no shard could be chosen.",
  duplicates: "Events of named producers that had been accepted before.",
  evicted: "Events dropped from a ring by newer ones.",
  failed: "Events in batches that the adapter finally refused.",
  stranded: "Events given up by a shutdown that ran out of time.",
  dispatched: "Events stored by the adapter.",
  batches_dispatched: "Batches stored by the adapter.",
  batches_failed: "Batches that the adapter finally refused.",
  retries: "Batches sent to the adapter again.",
  dropped: "Events rejected, evicted, failed or stranded: the one number to alert on.",
  pending: "Events accepted and not yet settled.",
  pending_bytes: "Bytes of the events accepted and not yet settled.",
  queued: "Events in the ring.",
  queued_bytes: "Bytes in the ring.",
  target_batch_size: "Batch size that the shard aims for."
}

const family = (
  name: string,
  type: "counter" | "gauge",
  description: string,
  samples: ReadonlyArray<readonly [labels: string, value: number]>
): string =>
  `# HELP ${name} ${description}\n# TYPE ${name} ${type}\n${
    samples.map(([labels, value]) => `${name}${labels} ${value}\n`).join("")
  }`

const busFamily = (prefix: string, figure: string, samples: ReadonlyArray<readonly [string, number]>): string => {
  const isGauge = gauges.has(figure)
  return family(
    `${prefix}_${figure}${isGauge ? "" : "_total"}`,
    isGauge ? "gauge" : "counter",
    help[figure] ?? figure,
    samples
  )
}

const quoted = (text: string): string =>
  text.replace(/[\\"\n]/g, (character) => character === "\n" ? "\\n" : `\\${character}`)

/** One family of figures of the bridges; none while there are no bridges. */
const bridgeFamily = (
  stats: Stats,
  name: string,
  type: "counter" | "gauge",
  description: string,
  of: (bridge: Stats["bridges"][number]) => number
): string =>
  stats.bridges.length === 0 ? "" : family(
    name,
    type,
    description,
    stats.bridges.map((bridge) => [
      `{direction="${bridge.direction}",channel="${quoted(bridge.channel)}",topic="${quoted(bridge.topic)}"}`,
      of(bridge)
    ])
  )

/** Every counter of the bus, of each shard, of the bridges and of the process. */
export const metricsText = (stats: Stats): string => {
  const shardFigures = Object.keys(stats.shards[0] ?? {}).filter((figure) => figure !== "shard")
  return [
    family("perigee_info", "gauge", "Always 1; the labels say what runs.", [[
      `{version="${quoted(stats.version)}",adapter="${
        quoted(stats.store.adapter)
      }",durability="${stats.store.durability}"}`,
      1
    ]]),
    family("perigee_uptime_seconds", "gauge", "Seconds since the start.", [["", stats.uptime_seconds]]),
    family("perigee_store_healthy", "gauge", "1 while the store answers.", [["", stats.store.healthy ? 1 : 0]]),
    family("perigee_tails", "gauge", "Readers connected to the tail.", [["", stats.tails]]),
    ...Object.entries(stats.bus).map(([figure, value]) => busFamily("perigee_bus", figure, [["", value]])),
    ...shardFigures.map((figure) =>
      busFamily("perigee_shard", figure, stats.shards.map((shard) => [`{shard="${shard["shard"]}"}`, shard[figure]!]))
    ),
    bridgeFamily(
      stats,
      "perigee_bridge_up",
      "gauge",
      "1 while the bridge works.",
      ({ state }) => state === "running" ? 1 : 0
    ),
    bridgeFamily(
      stats,
      "perigee_bridge_forwarded_total",
      "counter",
      "Events forwarded.",
      ({ forwarded }) => forwarded
    ),
    bridgeFamily(
      stats,
      "perigee_bridge_duplicates_total",
      "counter",
      "Events that came or went again and were recognised.",
      ({ duplicates }) => duplicates
    ),
    family("perigee_process_cpu_seconds_total", "counter", "Processor time of all threads.", [[
      "",
      stats.process.cpu_seconds
    ]]),
    family("perigee_process_resident_bytes", "gauge", "Resident memory.", [["", stats.process.resident_bytes]]),
    family("perigee_process_heap_bytes", "gauge", "Memory in use on the JavaScript heap.", [[
      "",
      stats.process.heap_bytes
    ]]),
    family(
      "perigee_event_loop_delay_p99_ms",
      "gauge",
      "Delay of the event loop since the last look, 99th percentile.",
      [[
        "",
        stats.process.event_loop_delay_p99_ms
      ]]
    )
  ].join("")
}
