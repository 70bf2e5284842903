/**
 * Conduits and hubs as Effect `Metric`s, for whatever exporter the program has.
 *
 * They are sampled, so a message costs nothing more. Conduits that are reported with the same attributes add up, and
 * what a conduit held is subtracted when its report ends.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type { ConduitHub, HubMetrics } from "./ConduitHub.ts"
import type { StableConduit } from "./StableConduit.ts"
import type { Metrics } from "./Status.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface ReportOptions {
  /** Time between samples: 1 s unless given. */
  readonly interval?: Duration.Input | undefined
  /** Added to every metric. Keep them few: names of services, not of peers. */
  readonly attributes?: Readonly<Record<string, string>> | undefined
}

/** How one figure of a snapshot is told. */
interface Figure<Snapshot> {
  readonly kind: "counter" | "gauge"
  readonly name: string
  readonly description: string
  readonly of: (snapshot: Snapshot) => number
}

const counter = <S>(name: string, description: string, of: (snapshot: S) => number): Figure<S> => ({
  kind: "counter",
  name,
  description,
  of
})
const gauge = <S>(name: string, description: string, of: (snapshot: S) => number): Figure<S> => ({
  kind: "gauge",
  name,
  description,
  of
})

const conduitFigures: ReadonlyArray<Figure<Metrics>> = [
  counter("conduit_frames_sent_total", "Frames given to a link for the first time", (m) => m.framesSent),
  counter("conduit_frames_received_total", "Frames accepted from the peer", (m) => m.framesReceived),
  counter("conduit_bytes_received_total", "Bytes of the items accepted from the peer", (m) => m.bytesReceived),
  counter("conduit_frames_replayed_total", "Frames given to a link again", (m) => m.replayed),
  counter("conduit_duplicates_total", "Frames that arrived again and were dropped", (m) => m.duplicates),
  counter("conduit_gaps_total", "Tolerated jumps in the peer's numbers", (m) => m.gaps),
  counter("conduit_acks_sent_total", "Acknowledgements that no item carried", (m) => m.acksSent),
  counter("conduit_links_total", "Links used", (m) => m.links),
  gauge("conduit_window_frames", "Frames sent and not confirmed", (m) => m.windowFrames),
  gauge("conduit_window_bytes", "Bytes sent and not confirmed", (m) => m.windowBytes),
  gauge("conduit_queued_items", "Items received and not taken", (m) => m.queuedItems),
  gauge("conduit_queued_bytes", "Bytes received and not taken", (m) => m.queuedBytes),
  gauge("conduit_waiting_senders", "Senders that wait for room in the window", (m) => m.waitingSenders)
]

const hubFigures: ReadonlyArray<Figure<HubMetrics>> = [
  counter("conduit_hub_created_total", "Conduits made for fresh peers", (m) => m.created),
  counter("conduit_hub_resumed_total", "Links given back to a known conduit", (m) => m.resumed),
  counter("conduit_hub_rejected_total", "Hellos answered with a rejection", (m) => m.rejected),
  counter("conduit_hub_malformed_total", "Links closed for a malformed or late opening", (m) => m.malformed),
  counter("conduit_hub_expired_total", "Conduits forgotten by retention", (m) => m.expired),
  gauge("conduit_hub_conduits", "Conduits that exist", (m) => m.conduits),
  gauge("conduit_hub_detached", "Conduits without a link", (m) => m.detached),
  gauge("conduit_hub_detached_bytes", "Bytes that conduits without a link hold", (m) => m.detachedBytes),
  gauge("conduit_hub_opening", "Links that have not said hello", (m) => m.opening)
]

const reporting = <S>(figures: ReadonlyArray<Figure<S>>) =>
  Effect.fnUntraced(function*(
    snapshot: Effect.Effect<S>,
    options: ReportOptions = {}
  ): Effect.fn.Return<void, never, Scope.Scope> {
    const { attributes } = options
    const told = figures.map(({ description, kind, name, of }) => {
      let last = 0
      const metric: Metric.Metric<number, unknown> = kind === "counter"
        ? Metric.counter(name, { description, incremental: true, attributes })
        : Metric.gauge(name, { description, attributes })
      const move = (to: number): Effect.Effect<void> => {
        const change = to - last
        last = to
        return change === 0 ? Effect.void : Metric.modify(metric, change)
      }
      return { kind, move, of }
    })
    const sample = Effect.flatMap(snapshot, (now) =>
      Effect.forEach(told, ({ move, of }) => move(of(now)), { discard: true }))
    yield* Effect.addFinalizer(() =>
      Effect.andThen(
        sample,
        Effect.forEach(told, ({ kind, move }) =>
          kind === "gauge" ? move(0) : Effect.void, { discard: true })
      )
    )
    yield* Effect.forkScoped(
      Effect.forever(Effect.andThen(sample, Effect.sleep(options.interval ?? "1 second"))),
      { startImmediately: true }
    )
  })

/**
 * Reports a conduit until the scope closes, with one last sample then.
 *
 * @since 0.1.0
 */
export const report: (
  conduit: StableConduit,
  options?: ReportOptions
) => Effect.Effect<void, never, Scope.Scope> = (conduit, options) => reporting(conduitFigures)(conduit.metrics, options)

/**
 * Reports a hub until the scope closes; the conduits in it are reported by their handlers, if at all.
 *
 * @since 0.1.0
 */
export const reportHub: (
  hub: ConduitHub["Service"],
  options?: ReportOptions
) => Effect.Effect<void, never, Scope.Scope> = (hub, options) => reporting(hubFigures)(hub.metrics, options)
