import { assert, it } from "@effect/vitest"
import { murmur } from "../../../src/testing/core/Murmur.ts"

it.each([
  ["", 0],
  ["k1", 2_110_152_746],
  ["k2", 1_479_966_664],
  ["key1", 462_881_061],
  ["key2", 1_936_800_180],
  ["key01", 39_696_932],
  ["key02", 751_761_803],
  ["clé", 1_778_668_227]
])("hashes %s as the Java client does", (text, hash) => assert.strictEqual(murmur(text), hash))
