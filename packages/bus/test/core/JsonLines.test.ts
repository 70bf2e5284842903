import { assert, describe, it } from "@effect/vitest"
import { JsonLines, type JsonLinesOptions, type LineBatch, type RejectedLine } from "../../src/core/JsonLines.ts"
import { Staging } from "../../src/core/Staging.ts"
import { hash, shardOf } from "../../src/core/XxHash3.ts"
import { anyJson, mutate } from "../utils/json.ts"
import { Prng } from "../utils/prng.ts"

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const isJson = (bytes: Uint8Array): boolean => {
  try {
    JSON.parse(utf8.decode(bytes))
    return true
  } catch {
    return false
  }
}

const bytesOf = (input: string | ReadonlyArray<number>): Uint8Array =>
  typeof input === "string" ? Buffer.from(input) : Uint8Array.from(input)

describe("Staging.validate", () => {
  const check = (input: string | ReadonlyArray<number>): readonly [offset: number, fault: string] => {
    const staging = new Staging()
    const offset = staging.validate(staging.stageBytes(bytesOf(input)))
    return [offset, offset === -1 ? "" : staging.fault]
  }

  it("names the first byte that does not fit", () => {
    const cases: ReadonlyArray<readonly [input: string | ReadonlyArray<number>, offset: number, fault: string]> = [
      ["", 0, "notJson"],
      ["  ", 2, "notJson"],
      ["{\"a\":1", 6, "notJson"],
      ["{\"a\":1}x", 7, "notJson"],
      ["1 2", 2, "notJson"],
      ["[1,]", 3, "notJson"],
      ["{,}", 1, "notJson"],
      ["{\"a\" 1}", 5, "notJson"],
      ["{a:1}", 1, "notJson"],
      ["[1}", 2, "notJson"],
      ["nul", 3, "notJson"],
      ["nulL", 3, "notJson"],
      ["tru", 3, "notJson"],
      ["falsy", 4, "notJson"],
      ["01", 1, "notJson"],
      ["-", 1, "notJson"],
      ["1.", 2, "notJson"],
      ["1.e1", 2, "notJson"],
      ["1e+", 3, "notJson"],
      ["+1", 0, "notJson"],
      ["'a'", 0, "notJson"],
      ["\"a", 2, "notJson"],
      ["\"\\x\"", 2, "notJson"],
      ["\"\\u12g4\"", 5, "notJson"],
      ["\"a\tb\"", 2, "notJson"],
      ["NaN", 0, "notJson"],
      [[0xef, 0xbb, 0xbf, 0x31], 0, "notJson"],
      [[0x22, 0x00, 0x22], 1, "notJson"],
      [[0x31, 0x00], 1, "notJson"],
      [[0x22, 0x61, 0x80, 0x22], 2, "invalidUtf8"],
      [[0x22, 0xc0, 0xaf, 0x22], 1, "invalidUtf8"],
      [[0x22, 0xe0, 0x9f, 0xbf, 0x22], 1, "invalidUtf8"],
      [[0x22, 0xed, 0xa0, 0x80, 0x22], 1, "invalidUtf8"],
      [[0x22, 0xf0, 0x8f, 0xbf, 0xbf, 0x22], 1, "invalidUtf8"],
      [[0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], 1, "invalidUtf8"],
      [[0x22, 0xf5, 0x80, 0x80, 0x80, 0x22], 1, "invalidUtf8"],
      [[0x22, 0xe2, 0x82], 1, "invalidUtf8"]
    ]
    for (const [input, offset, fault] of cases) assert.deepStrictEqual(check(input), [offset, fault], String(input))
  })

  it("accepts what the grammar allows", () => {
    for (
      const text of [
        "0",
        " [ ] ",
        "{ }",
        "\"\\ud800\"",
        "\"\u007f\u2028\"",
        "-0.0e-0",
        "{\"__proto__\":1,\"__proto__\":2}",
        "\"😀\""
      ]
    ) {
      assert.deepStrictEqual(check(text), [-1, ""], text)
    }
  })

  it("limits the depth without recursion", () => {
    const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth)
    const mixed = (depth: number) => "{\"a\":".repeat(depth) + "1" + "}".repeat(depth)
    assert.deepStrictEqual(check(nested(128)), [-1, ""])
    assert.deepStrictEqual(check(nested(129)), [128, "tooDeep"])
    assert.deepStrictEqual(check(mixed(128)), [-1, ""])
    assert.deepStrictEqual(check(mixed(129)), [640, "tooDeep"])
    assert.deepStrictEqual(check("[".repeat(1_000_000)), [128, "tooDeep"])
    const deep = new Staging({ maxDepth: 4096 })
    assert.strictEqual(deep.validate(deep.stageString(nested(4096))), -1)
    assert.strictEqual(deep.validate(deep.stageString(nested(4097))), 4096)
  })

  it("agrees with JSON.parse on random documents and on damaged ones", () => {
    const staging = new Staging()
    let refused = 0
    for (let seed = 0; seed < 40_000; seed++) {
      const random = new Prng(seed)
      const whole = Buffer.from(anyJson(random))
      const input = seed % 4 === 0 ? whole : mutate(random, whole)
      const offset = staging.validate(staging.stageBytes(input))
      assert.strictEqual(offset === -1, isJson(input), `seed ${seed}: ${JSON.stringify(input.toString())} at ${offset}`)
      assert.isAtMost(offset, input.length)
      if (offset >= 0) refused++
    }
    assert.isAbove(refused, 10_000)
    assert.isBelow(refused, 35_000)
  })

  it("is not fooled by what an earlier payload left behind", () => {
    const staging = new Staging()
    staging.stageString("\"0123456789abcdef0123456789abcdef\"]}]}]}")
    assert.strictEqual(staging.validate(staging.stageString("\"0123456789ab")), 13)
    assert.strictEqual(staging.validate(staging.stageString("[1")), 2)
  })
})

interface Read {
  readonly lines: ReadonlyArray<string>
  readonly routes: ReadonlyArray<number>
  readonly rejected: ReadonlyArray<RejectedLine>
  readonly rejectedCount: number
}

const read = (chunks: Iterable<Uint8Array>, options?: JsonLinesOptions, shards?: number): Read => {
  const decoder = new JsonLines(options)
  const out = {
    lines: [] as Array<string>,
    routes: [] as Array<number>,
    rejected: [] as Array<RejectedLine>,
    rejectedCount: 0
  }
  const take = (batch: LineBatch) => {
    assert.strictEqual(batch.starts.length, batch.count)
    assert.strictEqual(batch.ends.length, batch.count)
    for (let i = 0; i < batch.count; i++) {
      out.lines.push(Buffer.from(batch.bytes.subarray(batch.starts[i], batch.ends[i])).toString("latin1"))
    }
    if (batch.routes !== undefined) out.routes.push(...batch.routes)
    out.rejected.push(...batch.rejected)
    out.rejectedCount += batch.rejectedCount
  }
  for (const chunk of chunks) take(decoder.push(chunk, shards))
  take(decoder.end(shards))
  return out
}

const pieces = function*(random: Prng, bytes: Uint8Array, most: number) {
  for (let at = 0; at < bytes.length;) {
    const to = Math.min(bytes.length, at + random.int(0, most + 1))
    yield bytes.slice(at, to)
    at = to
  }
}

/** What the decoder should say, by the simplest means. */
const model = (bytes: Uint8Array, maxLineBytes: number): Read => {
  const lines: Array<string> = []
  const rejected: Array<RejectedLine> = []
  const staging = new Staging({ maxBytes: 67_108_864 })
  let number = 0
  const all = Buffer.from(bytes).toString("latin1").split("\n")
  if (all.at(-1) === "") all.pop()
  for (const raw of all) {
    number++
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw
    if (line.length > maxLineBytes) rejected.push({ line: number, reason: "tooLong", offset: maxLineBytes })
    else if (/[^ \t\r]/.test(line)) {
      const offset = staging.validate(staging.stageBytes(Buffer.from(line, "latin1")))
      if (offset === -1) lines.push(line)
      else rejected.push({ line: number, reason: staging.fault, offset })
    }
  }
  return { lines, routes: [], rejected, rejectedCount: rejected.length }
}

describe("JsonLines", () => {
  it("cuts, skips blank lines, strips carriage returns, numbers what it refuses", () => {
    const input = Buffer.from("{\"a\":1}\n\n  \r\n[1,2]\r\nnope\n\"é\"\r\n{\"a\":\n 7 \n\"last\"")
    const expected: Read = {
      lines: ["{\"a\":1}", "[1,2]", "\"Ã©\"", " 7 ", "\"last\""],
      routes: [],
      rejected: [{ line: 5, reason: "notJson", offset: 1 }, { line: 7, reason: "notJson", offset: 5 }],
      rejectedCount: 2
    }
    assert.deepStrictEqual(read([input]), expected)
    assert.deepStrictEqual(read(Array.from(input, (byte) => Uint8Array.of(byte))), expected)
  })

  it("skips a byte order mark at the start of the stream, nowhere else", () => {
    const mark = "\ufeff"
    const expected: Read = {
      lines: ["\"12345678\"", "2"],
      routes: [],
      rejected: [{ line: 3, reason: "notJson", offset: 0 }],
      rejectedCount: 1
    }
    const input = Buffer.from(`${mark}"12345678"\r\n2\n${mark}3\n`)
    assert.deepStrictEqual(read([input], { maxLineBytes: 10 }), expected)
    assert.deepStrictEqual(read(Array.from(input, (byte) => Uint8Array.of(byte)), { maxLineBytes: 10 }), expected)
    assert.deepStrictEqual(read([Buffer.from(`${mark}"123456789"`)], { maxLineBytes: 10 }).rejected, [{
      line: 1,
      reason: "tooLong",
      offset: 10
    }])
    assert.deepStrictEqual(read([Buffer.from(mark)]).rejectedCount, 0)
  })

  it("carries nothing over an empty stream, and works again after its end", () => {
    assert.deepStrictEqual(read([]).lines, [])
    const decoder = new JsonLines()
    decoder.push(Buffer.from("1\n2"))
    assert.strictEqual(decoder.end().count, 1)
    assert.strictEqual(decoder.end().count, 0)
    assert.strictEqual(decoder.lines, 2)
    assert.deepStrictEqual(decoder.push(Buffer.from("x\n")).rejected, [{ line: 3, reason: "notJson", offset: 0 }])
  })

  it("reads the same however the stream is cut, as a plain model says", () => {
    for (let seed = 0; seed < 600; seed++) {
      const random = new Prng(seed)
      const parts: Array<Uint8Array> = []
      for (let i = random.int(0, 30); i > 0; i--) {
        const text = Buffer.from(anyJson(random))
        parts.push(
          random.chance(0.25)
            ? mutate(random, text)
            : random.chance(0.1)
            ? Buffer.from("\"" + "x".repeat(random.int(100, 400)) + "\"")
            : text,
          Buffer.from(random.pick(["\n", "\r\n", "\n\n", "\r\n \n"]))
        )
      }
      if (random.chance(0.5)) parts.pop()
      const bytes = Buffer.concat(parts)
      const maxLineBytes = random.pick([20, 100, 256, 1_048_576])
      const expected = model(bytes, maxLineBytes)
      assert.deepStrictEqual(read([bytes], { maxLineBytes }), expected, `seed ${seed}, whole`)
      const most = random.pick([1, 3, 40, 500])
      const cut = read(pieces(random, bytes, most), { maxLineBytes }, 7)
      assert.deepStrictEqual({ ...cut, routes: [] }, expected, `seed ${seed}, pieces of ${most}`)
      assert.deepStrictEqual(cut.routes, cut.lines.map((line) => shardOf(hash(Buffer.from(line, "latin1")), 7)))
    }
  })

  it("keeps a line of exactly the limit, with either end of line, and refuses one byte more", () => {
    const line = (bytes: number) => `"${"x".repeat(bytes - 2)}"`
    for (const end of ["\n", "\r\n", ""]) {
      const input = Buffer.from(line(50) + end)
      for (const chunks of [[input], Array.from(input, (byte) => Uint8Array.of(byte))]) {
        assert.deepStrictEqual(read(chunks, { maxLineBytes: 50 }).lines, [line(50)])
        assert.deepStrictEqual(read(chunks, { maxLineBytes: 49 }).rejected, [{
          line: 1,
          reason: "tooLong",
          offset: 49
        }])
      }
    }
  })

  it("never holds a line of a gigabyte: it is refused once, and skipped", () => {
    const decoder = new JsonLines()
    const chunk = new Uint8Array(65_536).fill(0x61)
    const rejected: Array<RejectedLine> = []
    let largest = 0
    rejected.push(...decoder.push(Buffer.from("1\n")).rejected)
    for (let i = 0; i < 16_384; i++) {
      const batch = decoder.push(chunk)
      rejected.push(...batch.rejected)
      largest = Math.max(largest, batch.bytes.length)
    }
    const batch = decoder.push(Buffer.from("\n2\n"))
    assert.strictEqual(batch.count, 1)
    assert.deepStrictEqual(rejected, [{ line: 2, reason: "tooLong", offset: 1_048_576 }])
    assert.isBelow(largest, 4_000_000)
    assert.deepStrictEqual(decoder.push(Buffer.from("x\n")).rejected, [{ line: 4, reason: "notJson", offset: 0 }])
  })

  it("lists so many refusals and counts the rest", () => {
    const decoder = new JsonLines({ maxRejected: 3 })
    const first = decoder.push(Buffer.from("x\n".repeat(2)))
    const second = decoder.push(Buffer.from("y\n".repeat(5)))
    assert.deepStrictEqual([first.rejected.length, first.rejectedCount], [2, 2])
    assert.deepStrictEqual([second.rejected.map((one) => one.line), second.rejectedCount], [[3], 5])
  })

  it("refuses limits that are out of range", () => {
    assert.throws(() => new JsonLines({ maxLineBytes: 0 }), RangeError)
    assert.throws(() => new JsonLines({ maxLineBytes: 67_108_865 }), RangeError)
    assert.throws(() => new JsonLines({ maxDepth: 5000 }), RangeError)
  })
})
