import { assert, describe, it } from "@effect/vitest"
import * as Routing from "../src/Routing.ts"
import * as ServiceUrl from "../src/ServiceUrl.ts"
import * as TopicName from "../src/TopicName.ts"

const read = (text: string) => {
  const result = ServiceUrl.parse(text)
  return result._tag === "Ok" ? ServiceUrl.format(result.url) : "refused"
}

describe("ServiceUrl", () => {
  it("fills in ports, cuts paths, takes several hosts and any case", () => {
    assert.strictEqual(read("pulsar://host"), "pulsar://host:6650")
    assert.strictEqual(read("PULSAR+SSL://host/path?x#y"), "pulsar+ssl://host:6651")
    assert.strictEqual(read("pulsar://a:1,b, c:3/x"), "pulsar://a:1,b:6650,c:3")
    assert.strictEqual(read("pulsar://[::1]"), "pulsar://[::1]:6650")
    assert.strictEqual(read("pulsar+ssl://[fe80::1%eth0]:7"), "pulsar+ssl://[fe80::1%eth0]:7")
  })

  it("refuses everything else before anything is dialed", () => {
    const bad = [
      "",
      "host",
      "host:6650",
      "ptlsar://host",
      "http://host",
      "pulsar://",
      "pulsar:///x",
      "pulsar://host:",
      "pulsar://host:0",
      "pulsar://host:65536",
      "pulsar://host:6a",
      "pulsar://::1",
      "pulsar://[::1",
      "pulsar://[::1]6650",
      "pulsar://a,,b",
      "pulsar://user@host",
      "pulsar://[host]",
      "pulsar://ho st"
    ]
    for (const text of bad) assert.strictEqual(read(text), "refused", text)
  })

  it("checks redirects against the allow-list", () => {
    const hosts = { _tag: "Hosts", hosts: ["Broker-1", "[::1]"] } as const
    assert.isTrue(ServiceUrl.isAllowed({ _tag: "Any" }, "pulsar://x"))
    assert.isFalse(ServiceUrl.isAllowed({ _tag: "Any" }, "ptlsar://x"))
    assert.isTrue(ServiceUrl.isAllowed(hosts, "pulsar+ssl://broker-1:999"))
    assert.isTrue(ServiceUrl.isAllowed(hosts, "pulsar://[::1]:1"))
    assert.isFalse(ServiceUrl.isAllowed(hosts, "pulsar://broker-1,evil"))
    assert.isTrue(ServiceUrl.isAllowed({ _tag: "Exact", urls: ["pulsar://a:1"] }, "pulsar://a:1"))
    assert.isFalse(ServiceUrl.isAllowed({ _tag: "Exact", urls: ["pulsar://a:1"] }, "pulsar://a:2"))
  })
})

describe("TopicName", () => {
  it("completes short names and refuses strange ones", () => {
    assert.strictEqual(TopicName.normalize("orders"), "persistent://public/default/orders")
    assert.strictEqual(TopicName.normalize("a/b/c"), "persistent://a/b/c")
    assert.strictEqual(TopicName.normalize("non-persistent://a/b/c/d"), "non-persistent://a/b/c/d")
    for (const bad of ["", "a/b", "a/b/c/d", "topic://a/b/c", "persistent://a/b", "persistent:///b/c"]) {
      assert.isUndefined(TopicName.normalize(bad), bad)
    }
  })

  it("sees a partition only in strict digits behind something", () => {
    assert.strictEqual(TopicName.partitionOf("t-partition-3"), 3)
    for (
      const not of ["-partition-1", "t-partition-x", "t-partition-", "t-partition-1x", "t-partition-4294967296", "t"]
    ) {
      assert.strictEqual(TopicName.partitionOf(not), -1, not)
    }
  })
})

describe("Routing", () => {
  it("hashes as the Java client does", () => {
    const java = {
      "": 0,
      abc: 96_354,
      alpha: 92_909_918,
      keykeykey2: 42_978_643,
      keykeykeykeykey1: 434_058_482,
      "clé": 98_720,
      "😀": 1_772_899
    }
    for (const [key, hash] of Object.entries(java)) assert.strictEqual(Routing.javaStringHash(key), hash, key)
    const murmur = {
      "": 0,
      k1: 2_110_152_746,
      k2: 1_479_966_664,
      key1: 462_881_061,
      key2: 1_936_800_180,
      key01: 39_696_932,
      key02: 751_761_803,
      "clé": 1_778_668_227
    }
    for (const [key, hash] of Object.entries(murmur)) assert.strictEqual(Routing.murmur3(key), hash, key)
  })

  it("chooses within range in every mode", () => {
    const turn = new Routing.Router({ _tag: "keyOrRoundRobin", hash: "java" })
    assert.deepStrictEqual([
      turn.route(undefined, 3),
      turn.route("", 3),
      turn.route("abc", 3),
      turn.route(undefined, 3),
      turn.route(undefined, 3)
    ], [0, 1, 0, 2, 0])
    assert.strictEqual(new Routing.Router({ _tag: "single", partition: 9 }).route("k", 4), 3)
    for (const answer of [-5, 99, Number.NaN, 1.7]) {
      const chosen = new Routing.Router({ _tag: "custom", route: () => answer }).route("k", 4)
      assert.isTrue(chosen >= 0 && chosen < 4 && Number.isInteger(chosen))
    }
    const round = new Routing.Router({ _tag: "roundRobin" })
    assert.deepStrictEqual(["a", "a", "a"].map((key) => round.route(key, 2)), [0, 1, 0])
  })
})
