/**
 * `npm run bench -- engine`: our client, the Java client and the C++ library side by side against one real broker; then what needs no broker.
 *
 * `--runs N` (5), `--quick` (a tenth of the messages), `--long` (the flat heap over ten million messages instead of one), `--only TEXT` (rows
 * whose name has it), `--peers java` (without the C++ library, which takes most of the time), `--profile DIR` (a processor profile of our client), `--in-process` (only what
 * needs no broker).
 */
import { Effect } from "effect"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { freemem, tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { measure, type Measured, report, type Row, versus } from "../../../bench/harness.ts"
import { receive, send } from "../../proto/bench/machine.ts"
import * as BrokerProcess from "../test/support/BrokerProcess.ts"
import { unavailable } from "../test/support/PeerCache.ts"
import { inProcess } from "./inProcess.ts"
import { bareSocket, cppClient, type Figures, javaClient, ours, type Peer } from "./peers.ts"

const { values: options } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    quick: { type: "boolean", default: false },
    long: { type: "boolean", default: false },
    "in-process": { type: "boolean", default: false },
    only: { type: "string", default: "" },
    peers: { type: "string", default: "java,cpp" },
    profile: { type: "string" }
  }
})
const RUNS = Number(options.runs)
const WARMUPS = 2
const scale = options.quick ? 0.1 : 1
const wanted = (work: string) => work.includes(options.only)

/** A client and what it is asked to do. */
interface Contestant {
  readonly label: string
  readonly peer: Peer
  readonly work: string
}

interface Series {
  readonly label: string
  readonly peer: Peer
  readonly of: (figure: keyof Figures) => Measured
}

const measured = (runs: ReadonlyArray<number>): Measured => {
  const sorted = runs.toSorted((a, b) => a - b)
  const median = sorted[sorted.length >>> 1]!
  return { median, spread: (sorted.at(-1)! - sorted[0]!) / median, runs }
}

let topics = 0
const namespace = "public/bench"
const freshTopic = () => `persistent://${namespace}/bench-${process.pid}-${topics++}`

/**
 * Every client once, then every client again: what the machine does meanwhile happens to all of them. Each round begins with another, for what one leaves
 * behind, in the broker's memory above all, is what the next one meets.
 */
const compete = async (
  contestants: ReadonlyArray<Contestant>,
  size: number,
  count: number,
  topicOf: (contestant: Contestant) => string
): Promise<ReadonlyArray<Series>> => {
  const figures = contestants.map((): Array<Figures> => [])
  for (let round = 0; round < WARMUPS + RUNS; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      const index = (round + turn) % contestants.length
      const contestant = contestants[index]!
      const result = await contestant.peer.run(contestant.work, size, count, topicOf(contestant))
      if (round >= WARMUPS) figures[index]!.push(result)
    }
  }
  return contestants.map(({ label, peer }, index) => ({
    label,
    peer,
    of: (figure) => measured(figures[index]!.map((one) => one[figure]))
  }))
}

type Goal = { readonly text: string; readonly met: (ours: number, ratio: number) => boolean }
const atLeast = (ratio: number): Goal => ({ text: `≥ ${ratio} × Java`, met: (_ours, found) => found >= ratio })
const atMost = (ratio: number): Goal => ({ text: `≤ ${ratio} × Java`, met: (_ours, found) => found <= ratio })

const names: Partial<Record<keyof Figures, readonly [name: string, unit: string]>> = {
  rate: ["rate", "msg/s"],
  cpu: ["client CPU", "s/M"],
  p50: ["p50", "ms"],
  p99: ["p99", "ms"]
}

/** A row for each figure of ours against each of the others. */
const rows = (
  work: string,
  mine: ReadonlyArray<Series>,
  others: ReadonlyArray<Series>,
  goals: Readonly<Record<string, Partial<Record<keyof Figures, Goal>>>>,
  figures: ReadonlyArray<keyof Figures>
): ReadonlyArray<Row> =>
  mine.flatMap((series) =>
    figures.flatMap((figure) =>
      others.map((other) => {
        const [name, unit] = names[figure]!
        const goal = other.peer.name === "Java" ? goals[series.label]?.[figure] : undefined
        return versus(
          `${work}${series.label === "" ? "" : `, ${series.label}`}: ${name}`,
          unit,
          series.of(figure),
          {
            peer: { name: other.peer.name, version: other.peer.version, value: other.of(figure) },
            ...(goal === undefined ? {} : { goal })
          }
        )
      })
    )
  )

// Consumers use memory again, as `reuseMemory` has it, where nothing else is said.
const batchApi = "batch API"
const oneByOne = "one by one"
const throughput = {
  [batchApi]: { rate: atLeast(1.3), cpu: atMost(0.5) },
  [oneByOne]: { rate: atLeast(0.8), cpu: atMost(1.5) }
}

/** Free memory, in bytes, that the broker's data and everything else need. */
const ROOM = 18 * 2 ** 30
const MEMORY = "/dev/shm"

/** Memory where there is enough: how fast a disk takes what clients produce says nothing about the clients. */
const dataFolder = () => {
  const inMemory = existsSync(MEMORY) && freemem() >= ROOM
  console.error(
    inMemory ? "the broker's data is in memory" : "the broker's data is on a disk, which may be what is measured"
  )
  return mkdtempSync(join(inMemory ? MEMORY : tmpdir(), "perigee-bench-"))
}

const againstBroker = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(dataFolder),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
  )
  // This is about clients: the broker looks for new entries at once, reads from memory what fits there, and keeps no journal that it has no use for.
  const info = yield* BrokerProcess.configure(folder, {
    settings: {
      managedLedgerNewEntriesCheckDelayInMillis: "0",
      managedLedgerCacheSizeMB: "768",
      dbStorage_writeCacheMaxSizeMb: "768",
      dbStorage_readAheadCacheMaxSizeMb: "512",
      journalMaxSizeMB: "256",
      journalMaxBackups: "0"
    },
    // The fast start of the tests is a slow steady state.
    jvm: ["-Xmx1500m", "-XX:MaxDirectMemorySize=4g"]
  })
  yield* Effect.acquireRelease(BrokerProcess.start(info), (pid) => BrokerProcess.stop(pid, "SIGKILL"))
  yield* BrokerProcess.admin(info, "PUT", `namespaces/${namespace}`)
  // Topics that are read several times stay.
  yield* BrokerProcess.admin(info, "POST", `namespaces/${namespace}/retention`, {
    retentionTimeInMinutes: -1,
    retentionSizeInMB: -1
  })
  const client = yield* ours(info.serviceUrl, options.profile)
  const bare = yield* bareSocket(info.serviceUrl)
  const java = options.peers.includes("java") ? yield* javaClient(info.serviceUrl) : undefined
  const cpp = options.peers.includes("cpp") ? yield* cppClient(info.serviceUrl) : undefined
  const others = (work: string): Array<Contestant> => {
    const peers = [work === "single" ? bare : undefined, java, cpp].filter((peer) => peer !== undefined)
    return peers.map((peer) => ({ label: "", peer, work }))
  }
  const all: Array<Row> = []

  const add = (
    work: string,
    mine: ReadonlyArray<readonly [label: string, work: string]>,
    theirs: string,
    size: number,
    messages: number,
    goals: Parameters<typeof rows>[3],
    figures: ReadonlyArray<keyof Figures>,
    topicOf: (contestant: Contestant) => string = freshTopic
  ) =>
    Effect.promise(async () => {
      if (!wanted(work)) return
      console.error(`${work} …`)
      const contestants = [...mine.map(([label, work]) => ({ label, peer: client, work })), ...others(theirs)]
      const series = await compete(contestants, size, messages, topicOf)
      const found = rows(work, series.slice(0, mine.length), series.slice(mine.length), goals, figures)
      all.push(...found)
    })

  for (const [size, name, full] of [[100, "100 B", 600_000], [1024, "1 KB", 200_000]] as const) {
    const count = Math.ceil(full * scale / 1000) * 1000
    yield* add(
      `produce ${name} batched`,
      [[batchApi, "produce"], [oneByOne, "produce-one"], ["a fiber each", "produce-fibers"]],
      "produce",
      size,
      count,
      throughput,
      ["rate", "cpu"]
    )
    if (wanted(`consume ${name}`)) {
      const filled = freshTopic()
      yield* Effect.promise(() => client.run("produce", size, count, filled))
      yield* add(
        `consume ${name}, acked one by one`,
        [
          [batchApi, "consume"],
          [oneByOne, "consume-one"],
          [`${batchApi}, memory kept`, "consume-keeping"],
          [`${oneByOne}, memory kept`, "consume-one-keeping"]
        ],
        "consume",
        size,
        count,
        throughput,
        ["rate", "cpu"],
        () => filled
      )
    }
    yield* add(
      `single acknowledged send ${name}`,
      [["", "single"]],
      "single",
      size,
      // Enough for every client to be warm.
      Math.ceil(4000 * scale),
      { "": { p99: atMost(1), cpu: { text: "≤ 90 s/M", met: (ours) => ours <= 90 } } },
      ["rate", "cpu", "p50", "p99"]
    )
    yield* add(
      `end to end ${name} at 2,000/s`,
      [["", "latency"]],
      "latency",
      size,
      Math.ceil(3000 * scale),
      {},
      ["p50", "p99", "cpu"]
    )
  }
  const messages = options.long ? 10_000_000 : 1_000_000 * scale
  const heapWork = `heap after ${messages / 1_000_000} M messages of 100 B`
  if (wanted(heapWork)) {
    console.error(`${heapWork} …`)
    const figures = yield* Effect.promise(() => client.run("heap", 100, messages, freshTopic()))
    all.push(
      versus(`${heapWork}, last tenth over second`, "×", measured([figures.growth]), {
        goal: { text: "flat: ≤ 1.1 ×", met: (found) => found <= 1.1 }
      }),
      versus(`${heapWork}, in use`, "MB", measured([figures.megabytes]))
    )
  }
  return all
}).pipe(Effect.scoped)

const machine = async (): Promise<ReadonlyArray<Row>> => {
  const row = async (work: string, f: () => number, published?: number) =>
    versus(
      `${work}, state machine alone`,
      "msg/s",
      await measure(f, RUNS, WARMUPS),
      published === undefined ? {} : {
        peer: { name: "@platformatic/kafka", version: "as published", value: measured([published]) },
        goal: { text: "its class", met: (_ours, ratio) => ratio >= 1 }
      }
    )
  const million = 1_000_000 * scale
  const works: ReadonlyArray<readonly [string, () => number, number?]> = [
    ["send 100 B singly", send(100, false, 300_000 * scale), 95_000],
    ["send 100 B batched", send(100, true, 2 * million), 450_000],
    ["send 1 KB batched", send(1024, true, million)],
    ["receive 100 B singly, acked one by one", receive(100, 1, 500_000 * scale)],
    ["receive 100 B batched, acked one by one", receive(100, 1000, 2 * million)],
    ["receive 1 KB batched, acked one by one", receive(1024, 100, million)]
  ]
  const found: Array<Row> = []
  for (const [work, f, published] of works) {
    if (wanted(`${work}, state machine alone`)) found.push(await row(work, f, published))
  }
  return found
}

const reason = options["in-process"] ? "--in-process" : unavailable()
if (reason !== undefined) console.error(`no row against a real broker: ${reason}`)
const real = reason === undefined ? await Effect.runPromise(againstBroker) : []
report("engine", [...real, ...await machine(), ...await inProcess(RUNS, scale, wanted)])
process.exit(0)
