import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import * as Frame from "../../src/core/Frame.ts"
import * as Hello from "../../src/core/Hello.ts"
import * as StreamDecoder from "../../src/core/StreamDecoder.ts"
import * as Cbor from "../../src/session/Cbor.ts"
import * as Handshake from "../../src/session/Handshake.ts"
import * as Message from "../../src/session/Message.ts"
import * as Postcard from "../../src/session/Postcard.ts"
import * as Prologue from "../../src/session/Prologue.ts"
import vectors from "../../vectors.json" with { type: "json" }
import { hex, unhex } from "../support.ts"

describe("frames", () => {
  for (const { ack, hex: bytes, id, item, seq } of vectors.frames) {
    it(`${id} encodes and decodes as tabled`, () => {
      const frame = { seq, ack: ack ?? undefined, item: unhex(item) }
      assert.strictEqual(hex(Frame.encode(frame)), bytes)
      const decoded = Frame.decode(unhex(bytes))
      if (typeof decoded === "string") return assert.fail(decoded)
      assert.deepStrictEqual([decoded.seq, decoded.ack, hex(decoded.item)], [seq, ack ?? undefined, item])
    })
  }
  for (const { fault, hex: bytes, id } of vectors.malformed) {
    it(`${id} is refused as ${fault}`, () => {
      assert.strictEqual(Frame.decode(unhex(bytes)) as string, fault)
    })
  }
  for (const { hex: bytes, id, seq } of vectors.tolerated) {
    it(`${id} is tolerated`, () => {
      const decoded = Frame.decode(unhex(bytes))
      assert.strictEqual(typeof decoded === "string" ? decoded : decoded.seq, seq)
    })
  }
})

describe("hellos", () => {
  for (const vector of vectors.hellos) {
    it(`${vector.id} encodes and decodes as tabled`, () => {
      const key = vector.key === null ? undefined : unhex(vector.key)
      const lastReceived = vector.lastReceived ?? undefined
      if (vector.kind === "client") {
        assert.strictEqual(hex(Hello.encodeClient({ key, lastReceived, extensions: false })), vector.hex)
        const hello = Hello.decodeClient(unhex(vector.hex))
        if (typeof hello === "string") return assert.fail(hello)
        assert.strictEqual(hello.key === undefined ? null : hex(hello.key), vector.key)
        assert.strictEqual(hello.lastReceived, lastReceived)
        return assert.isFalse(hello.extensions)
      }
      const { rejected } = vector
      assert.strictEqual(hex(Hello.encodeServer({ rejected, key: key!, lastReceived, extensions: false })), vector.hex)
      const hello = Hello.decodeServer(unhex(vector.hex))
      if (typeof hello === "string") return assert.fail(hello)
      assert.deepStrictEqual([hello.rejected, hex(hello.key), hello.lastReceived], [rejected, vector.key, lastReceived])
    })
  }
  it("N9: 24 or 26 bytes are no hello", () => {
    const hello = unhex(vectors.hellos[0]!.hex)
    assert.strictEqual(Hello.decodeClient(hello.subarray(0, 24)), "HelloSize")
    assert.strictEqual(Hello.decodeClient(Uint8Array.of(...hello, 0)), "HelloSize")
    assert.strictEqual(Hello.decodeServer(hello.subarray(0, 24)), "HelloSize")
  })
  it("N10: a ServerHello where a ClientHello is due", () => {
    assert.strictEqual(Hello.decodeClient(unhex(vectors.hellos[6]!.hex)), "HelloMagic")
  })
  it("N11: reserved flags are ignored", () => {
    const hello = unhex(vectors.hellos[0]!.hex)
    hello[4] = 0xf8
    const decoded = Hello.decodeClient(hello)
    assert.isTrue(typeof decoded !== "string" && decoded.key === undefined && !decoded.extensions)
  })
  it("the extension bit is the only difference to a plain hello", () => {
    const plain = Hello.encodeClient({ key: undefined, lastReceived: undefined, extensions: false })
    const offering = Hello.encodeClient({ key: undefined, lastReceived: undefined, extensions: true })
    assert.strictEqual(offering[4], plain[4]! | 4)
    offering[4] = plain[4]!
    assert.deepStrictEqual(offering, plain)
  })
})

describe("prologue", () => {
  for (const { hex: bytes, id, kind, mode } of vectors.prologue) {
    it(`${id} encodes and decodes as tabled`, () => {
      const encoded = kind === "Hello"
        ? Prologue.hello(mode as Prologue.Mode)
        : kind === "Accept"
        ? Prologue.accept(mode as Prologue.Mode)
        : Prologue.reject()
      assert.strictEqual(hex(encoded), bytes)
      const decoded = Prologue.decode(unhex(bytes))
      assert.isTrue(typeof decoded !== "string" && decoded._tag === kind)
    })
  }
  it("refuses another size, magic, version or mode; ignores reserved bytes", () => {
    const good = Prologue.hello("stable")
    assert.strictEqual(Prologue.decode(good.subarray(0, 7)), "PrologueSize")
    assert.strictEqual(Prologue.decode(Uint8Array.from(good, (b, i) => i === 3 ? 0x58 : b)), "PrologueMagic")
    assert.strictEqual(Prologue.decode(Uint8Array.from(good, (b, i) => i === 4 ? 8 : b)), "PrologueVersion")
    assert.strictEqual(Prologue.decode(Uint8Array.from(good, (b, i) => i === 5 ? 2 : b)), "PrologueMode")
    assert.isTrue(typeof Prologue.decode(Uint8Array.from(good, (b, i) => i > 5 ? 9 : b)) !== "string")
  })
})

describe("session handshake", () => {
  const key = Uint8Array.from({ length: 16 }, (_, i) => i)
  const messages: Record<string, Handshake.SessionMessage> = {
    C1: { _tag: "LetsGo" },
    C2: { _tag: "Sorry", reason: "session resume key mismatch" },
    C3: {
      _tag: "Hello",
      settings: Handshake.settings({ metadata: [{ key: "vox-service", value: "Echo", flags: 0 }] })
    },
    C4: { _tag: "Hello", settings: Handshake.settings({ resumeKey: key }) },
    C5: { _tag: "HelloYourself", settings: Handshake.settings({ parity: "Even", resumeKey: key }) }
  }
  for (const { hex: bytes, id } of vectors.handshake) {
    it(`${id} encodes and decodes as tabled`, () => {
      assert.strictEqual(hex(Handshake.encode(messages[id]!)), bytes)
      assert.deepStrictEqual(Handshake.decode(unhex(bytes)), messages[id]!)
    })
  }
  it("CBOR refuses what is truncated, trailing, indefinite or nested without end", () => {
    for (const bytes of ["", "a1", "61", "5f", "9bffffffffffffffff", "f6f6", "ff", "a101f6", "62c328"]) {
      assert.throws(() => Cbor.decode(unhex(bytes)), Cbor.CborFault)
    }
    assert.throws(() => Cbor.decode(new Uint8Array(10_000).fill(0x81)), Cbor.CborFault)
  })
})

describe("stream framing", () => {
  for (const { hex: bytes, id, payload } of vectors.stream) {
    it(`${id} encodes and decodes as tabled`, () => {
      assert.strictEqual(hex(StreamDecoder.encode(unhex(payload))), bytes)
      const seen: Array<string> = []
      const decoder = new StreamDecoder.StreamDecoder(1024)
      const input = unhex(bytes)
      assert.isUndefined(decoder.push(input, 0, input.length, true, {
        payload: (chunk, offset, length) => {
          seen.push(hex(chunk.subarray(offset, offset + length)))
        }
      }))
      assert.deepStrictEqual(seen, [payload])
    })
  }
})

describe("postcard", () => {
  for (const { hex: bytes, value } of vectors.varint) {
    it(`u32 ${value}`, () => {
      const codec = Postcard.codec(Postcard.u32)
      assert.strictEqual(hex(codec.encode(value)), bytes)
      assert.strictEqual(codec.decode(unhex(bytes)), value)
    })
  }
  const cases: ReadonlyArray<readonly [string, Postcard.Layout<any>, unknown, string]> = [
    ["u64 max", Postcard.u64, BigInt("18446744073709551615"), "ffffffffffffffffff01"],
    ["i32 -1", Postcard.i32, -1, "01"],
    ["i32 -128", Postcard.i32, -128, "ff01"],
    ["i32 min", Postcard.i32, -2147483648, "ffffffff0f"],
    ["none", Postcard.option(Postcard.u32), undefined, "00"],
    ["some 42", Postcard.option(Postcard.u32), 42, "012a"],
    ["some hello", Postcard.option(Postcard.string), "hello", "010568656c6c6f"],
    ["hello world", Postcard.string, "hello world", "0b68656c6c6f20776f726c64"],
    ["bytes", Postcard.bytes, unhex("deadbeef"), "04deadbeef"],
    ["list", Postcard.list(Postcard.u32), [1, 2, 3], "03010203"],
    ["struct", Postcard.struct({ x: Postcard.i32, y: Postcard.i32 }), { x: 10, y: -20 }, "1427"],
    ["tuple", Postcard.tuple(Postcard.u32, Postcard.string), [42, "hello"], "2a0568656c6c6f"],
    [
      "enum",
      Postcard.variants({ Circle: Postcard.f64, Point: Postcard.unit }),
      { _tag: "Circle", value: 3.14 },
      "001f85eb51b81e0940"
    ],
    [
      "map",
      Postcard.map(Postcard.string, Postcard.u32),
      new Map([["alpha", 1], ["beta", 2]]),
      "0205616c70686101046265746102"
    ],
    ["f32", Postcard.f32, 1.5, "0000c03f"],
    ["f64", Postcard.f64, -1, "000000000000f0bf"]
  ]
  for (const [name, layout, value, bytes] of cases) {
    it(name, () => {
      const codec = Postcard.codec(layout)
      assert.strictEqual(hex(codec.encode(value)), bytes)
      assert.deepStrictEqual(codec.decode(unhex(bytes)), value)
    })
  }
  it("refuses trailing bytes (N12), text that is not UTF-8 (N13), and counts beyond the input", () => {
    const text = Postcard.codec(Postcard.string)
    assert.throws(() => text.decode(unhex("0261626364")), /trailing bytes/)
    assert.throws(() => text.decode(unhex("02c328")), /not UTF-8/)
    assert.throws(() => Postcard.codec(Postcard.list(Postcard.u8)).decode(unhex("ffffffff0f01")), /count/)
  })
  for (const { hex: bytes, id } of vectors.messages.filter(({ id }) => id !== "metadata")) {
    it(`message ${id} survives a round trip`, () => {
      const message = Message.codec.decode(unhex(bytes))
      assert.strictEqual(hex(Message.codec.encode(message)), bytes)
    })
  }
  it("metadata survives a round trip", () => {
    const bytes = vectors.messages[0]!.hex
    const codec = Postcard.codec(Message.metadata)
    const value = codec.decode(unhex(bytes))
    assert.deepStrictEqual(value.map(({ key }) => key), ["trace-id", "auth", "attempt"])
    assert.strictEqual(hex(codec.encode(value)), bytes)
  })
})

describe("captures of the Rust crate", () => {
  const folder = new URL("../fixtures/", import.meta.url)
  for (const file of readdirSync(folder).filter((name) => name !== "malformed.json")) {
    it(`${file}: every payload decodes and encodes to the same bytes`, () => {
      const { payloads } = JSON.parse(readFileSync(new URL(file, folder), "utf8")) as {
        payloads: Array<{ stream_hex?: string; payload_hex?: string; dir: string; decoded?: any }>
      }
      let frames = 0
      for (const { decoded, dir, payload_hex, stream_hex } of payloads) {
        const bytes = unhex(payload_hex ?? stream_hex!.slice(8))
        if (stream_hex !== undefined) assert.strictEqual(hex(StreamDecoder.encode(bytes)), stream_hex)
        const magic = hex(bytes.subarray(0, 4))
        if (magic === "564f4348" || magic === "564f5348") {
          const hello = dir.startsWith("initiator") ? Hello.decodeClient(bytes) : Hello.decodeServer(bytes)
          if (typeof hello === "string") return assert.fail(hello)
          const again = dir.startsWith("initiator")
            ? Hello.encodeClient(hello as Hello.ClientHello)
            : Hello.encodeServer(hello as Hello.ServerHello)
          assert.strictEqual(hex(again), hex(bytes))
          if (decoded !== undefined) assert.strictEqual(hello.lastReceived ?? null, decoded.last_received)
          continue
        }
        const frame = Frame.decode(bytes)
        if (typeof frame === "string") return assert.fail(frame)
        assert.strictEqual(hex(Frame.encode(frame)), hex(bytes))
        if (decoded !== undefined) {
          assert.deepStrictEqual([frame.seq, frame.ack ?? null, hex(frame.item)], [
            decoded.seq,
            decoded.ack,
            decoded.item_hex
          ])
        }
        frames++
      }
      assert.isAbove(frames, 0)
    })
  }
  it("malformed.json: what the crate tolerates and we do not is refused by name", () => {
    const { results } = JSON.parse(readFileSync(new URL("malformed.json", folder), "utf8")) as {
      results: Array<{ case: string; payload_hex: string; result: string }>
    }
    for (const { case: name, payload_hex, result } of results) {
      const frame = Frame.decode(unhex(payload_hex))
      if (result === "closed" && !name.includes("UTF-8") && !name.includes("item")) {
        assert.isString(frame, name)
      }
      if (name.startsWith("N4")) assert.strictEqual(frame, "TrailingBytes")
      if (name.startsWith("N5")) assert.strictEqual(frame, "VarintOverflow")
      if (name.startsWith("six")) assert.strictEqual(frame, "VarintTooLong")
    }
  })
})
