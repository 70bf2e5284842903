import { assert, describe, it } from "@effect/vitest"
import * as Frame from "../../src/core/Frame.ts"
import * as Hello from "../../src/core/Hello.ts"
import { encode, StreamDecoder } from "../../src/core/StreamDecoder.ts"
import * as Cbor from "../../src/session/Cbor.ts"
import * as Handshake from "../../src/session/Handshake.ts"
import * as Message from "../../src/session/Message.ts"
import { AcceptorOpening, InitiatorOpening } from "../../src/session/Opening.ts"
import { PostcardFault } from "../../src/session/Postcard.ts"
import * as Prologue from "../../src/session/Prologue.ts"
import { hex, seeded } from "../support.ts"

const collect = (decoder: StreamDecoder, chunk: Uint8Array, into: Array<string>) =>
  decoder.push(chunk, 0, chunk.length, true, {
    payload: (bytes, offset, length) => {
      into.push(hex(bytes.subarray(offset, offset + length)))
    }
  })

describe("StreamDecoder", () => {
  it.each(Array.from({ length: 100 }, (_, seed) => seed))(
    "cuts the same payloads however input is split (%i)",
    (seed) => {
      const random = seeded(seed)
      const payloads = Array.from(
        { length: 30 },
        () => random.bytes(random.below(8) === 0 ? random.below(5000) : random.below(12))
      )
      const stream = Uint8Array.from(payloads.flatMap((payload) => [...encode(payload)]))
      const decoder = new StreamDecoder(5000)
      const seen: Array<string> = []
      for (let at = 0; at < stream.length;) {
        const step = 1 + random.below(random.below(3) === 0 ? 3000 : 7)
        assert.isUndefined(collect(decoder, stream.slice(at, at + step), seen))
        at += step
      }
      assert.deepStrictEqual(seen, payloads.map(hex))
      assert.isUndefined(decoder.finish())
    }
  )
  it("[oversize-prefix] refuses an announced length over the limit without allocating for it", () => {
    for (const split of [1, 2, 3, 4]) {
      const decoder = new StreamDecoder(1024)
      const prefix = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1, 2, 3)
      const first = collect(decoder, prefix.subarray(0, split), [])
      assert.strictEqual(first ?? collect(decoder, prefix.subarray(split), []), "PayloadTooLarge")
      assert.isAtMost(decoder.pending, 8)
    }
  })
  it("[partial-prefix] tells a cut inside a prefix from one inside a payload", () => {
    const decoder = new StreamDecoder(1024)
    collect(decoder, Uint8Array.of(5, 0), [])
    assert.strictEqual(decoder.finish(), "PartialPrefix")
    collect(decoder, Uint8Array.of(0, 0, 1), [])
    assert.strictEqual(decoder.finish(), "PartialPayload")
  })
  it("grows with the data of a large payload, not with its prefix", () => {
    const decoder = new StreamDecoder(0x4000_0000)
    collect(decoder, Uint8Array.of(0, 0, 0, 0x40, 1, 2, 3), [])
    assert.strictEqual(decoder.pending, 7)
  })
})

/** Runs every decoder on one input; what they throw or return is theirs, what they must not do is hang or crash. */
const fuzzOne = (input: Uint8Array) => {
  const frame = Frame.decode(input)
  if (typeof frame !== "string") {
    assert.isAtMost(frame.item.length, input.length)
    assert.isTrue(frame.seq >= 0 && frame.seq <= 0xffff_ffff)
  }
  Hello.decodeClient(input)
  Hello.decodeServer(input)
  Prologue.decode(input)
  Handshake.decode(input)
  try {
    Cbor.decode(input)
  } catch (error) {
    assert.instanceOf(error, Cbor.CborFault)
  }
  try {
    Message.codec.decode(input)
  } catch (error) {
    assert.instanceOf(error, PostcardFault)
  }
  new AcceptorOpening().payload(input)
  const opening = new InitiatorOpening({
    style: "naked",
    session: undefined,
    hello: { key: undefined, lastReceived: undefined, extensions: true }
  })
  opening.payload(input)
  const decoder = new StreamDecoder(4096)
  decoder.push(input, 0, input.length, true, { payload: () => true })
  assert.isAtMost(decoder.pending, input.length)
}

/** `FUZZ_INPUTS=10000000` is the long run. */
const inputs = Number(process.env["FUZZ_INPUTS"] ?? 20_000)

describe("fuzz", () => {
  it(`every decoder survives ${inputs} inputs`, { timeout: 7_200_000 }, () => {
    const random = seeded(Number(process.env["FUZZ_SEED"] ?? 1))
    const starts = [
      Frame.encode({ seq: 300, ack: 7, item: random.bytes(5) }),
      Hello.encodeClient({ key: random.bytes(16), lastReceived: 3, extensions: true }),
      Hello.rejection(),
      Prologue.hello("stable"),
      Handshake.encode({ _tag: "Hello", settings: Handshake.settings({ resumeKey: random.bytes(16) }) }),
      Message.codec.encode({ connection: BigInt(0), payload: { _tag: "Ping", value: { nonce: BigInt(1) } } })
    ]
    for (let i = 0; i < inputs; i++) {
      let input: Uint8Array
      if (random.below(2) === 0) {
        input = random.bytes(random.below(40))
      } else {
        input = starts[random.below(starts.length)]!.slice()
        for (let edits = random.below(4); edits >= 0; edits--) input[random.below(input.length)] = random.below(256)
        if (random.below(3) === 0) input = input.slice(0, random.below(input.length + 1))
      }
      fuzzOne(input)
    }
  })
})
