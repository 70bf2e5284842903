/** Every decoder that reads what somebody else wrote: a peer, or a file that a crash may have torn. */
import type { Target } from "@perigee/sim/fuzz"
import { ConduitState } from "../../src/core/ConduitState.ts"
import * as Control from "../../src/core/Control.ts"
import * as Frame from "../../src/core/Frame.ts"
import * as Hello from "../../src/core/Hello.ts"
import { encode, StreamDecoder } from "../../src/core/StreamDecoder.ts"
import * as ChangeLog from "../../src/internal/ChangeLog.ts"
import * as StoreCodec from "../../src/internal/StoreCodec.ts"
import * as Cbor from "../../src/session/Cbor.ts"
import * as Handshake from "../../src/session/Handshake.ts"
import * as Message from "../../src/session/Message.ts"
import { AcceptorOpening, InitiatorOpening } from "../../src/session/Opening.ts"
import * as Postcard from "../../src/session/Postcard.ts"
import * as Prologue from "../../src/session/Prologue.ts"
import { unhex, utf8 } from "../support.ts"

const expect = (condition: boolean, what: string) => {
  if (!condition) throw new Error(`broken promise: ${what}`)
}
/** No decoder needs more than twice what it was given, beside a first buffer. */
const maxAllocation = (bytes: number) => 2 * bytes + 2048

const key = unhex("000102030405060708090a0b0c0d0e0f")
const frame = Frame.encode({ seq: 300, ack: 7, item: utf8("hello") })
const hello = Handshake.encode({
  _tag: "Hello",
  settings: Handshake.settings({ resumeKey: key, metadata: [{ key: "vox-service", value: "Echo", flags: 0 }] })
})
const items = Postcard.codec(Postcard.struct({
  flag: Postcard.bool,
  small: Postcard.tuple(Postcard.u8, Postcard.i8, Postcard.u16, Postcard.i16),
  wide: Postcard.tuple(Postcard.u32, Postcard.i32, Postcard.u64, Postcard.i64),
  floats: Postcard.option(Postcard.tuple(Postcard.f32, Postcard.f64)),
  texts: Postcard.list(Postcard.string),
  blob: Postcard.bytes,
  inner: Postcard.opaque,
  table: Postcard.map(Postcard.string, Postcard.u32),
  choice: Postcard.variants({ None: Postcard.unit, Some: Postcard.u8 })
}))
const changes = StoreCodec.encode([
  { _tag: "Keys", keys: [key, key] },
  { _tag: "Appended", seq: 4294967295, item: utf8("x") },
  { _tag: "Trimmed", seq: 4294967295 },
  { _tag: "Delivered", seq: 0 }
])
const log = (() => {
  const start = ChangeLog.compacted({ keys: [key], delivered: 3, nextSeq: 9, items: [{ seq: 8, item: utf8("y") }] })
  const more = ChangeLog.record([{ _tag: "Appended", seq: 9, item: utf8("z") }])
  const out = new Uint8Array(start.length + more.length)
  out.set(start)
  out.set(more, start.length)
  return out
})()
const clientHello = Hello.encodeClient({ key, lastReceived: 3, extensions: true })
const serverHello = Hello.encodeServer({ rejected: false, key, lastReceived: 3, extensions: true })

/** Payloads of an opening: each is preceded by one byte of length. */
const payloadsOf = function*(input: Uint8Array) {
  for (let at = 0; at < input.length; at += 1 + input[at]!) yield input.subarray(at + 1, at + 1 + input[at]!)
}
const packed = (...payloads: ReadonlyArray<Uint8Array>) =>
  Uint8Array.from(payloads.filter(({ length }) => length < 256).flatMap((payload) => [payload.length, ...payload]))

export const frames: Target = {
  name: "frames",
  seeds: [frame, unhex("000000000000"), unhex("ffffffff0f01ffffffff0f0100000078")],
  maxAllocation,
  run: (input) => {
    const decoded = Frame.decode(input)
    if (typeof decoded === "string") return
    expect(decoded.item.length <= input.length, "an item is part of its payload")
    expect(decoded.seq >>> 0 === decoded.seq, "a number is a u32")
    expect(decoded.ack === undefined || decoded.ack >>> 0 === decoded.ack, "an acknowledgement is a u32")
  }
}

export const hellos: Target = {
  name: "hellos",
  seeds: [clientHello, serverHello, Hello.rejection()],
  maxAllocation,
  run: (input) => {
    const client = Hello.decodeClient(input)
    if (typeof client !== "string") expect(client.key === undefined || client.key.length === 16, "a key is 16 bytes")
    const server = Hello.decodeServer(input)
    if (typeof server !== "string") expect(server.key.length === 16, "a key is 16 bytes")
    expect(typeof client === "string" || typeof server === "string", "no payload is both hellos")
  }
}

export const controls: Target = {
  name: "controls",
  seeds: [Control.encode("ack", 300), Control.encode("bye", 4294967295)],
  maxAllocation,
  run: (input) => {
    if (input.length < Control.controlBytes) return
    const control = Control.decode(input)
    expect(control === "UnknownControl" || control.value >>> 0 === control.value, "a value is a u32")
  }
}

export const prologues: Target = {
  name: "prologues",
  seeds: [Prologue.hello("stable"), Prologue.accept("bare"), Prologue.reject()],
  maxAllocation,
  run: (input) => void Prologue.decode(input)
}

export const cbor: Target = {
  name: "cbor",
  seeds: [hello, changes, Cbor.encode([1.5, -1, BigInt("18446744073709551615"), null, true, { a: [] }])],
  accepts: (error) => error instanceof Cbor.CborFault,
  maxAllocation,
  run: (input) => void Cbor.decode(input)
}

export const handshakes: Target = {
  name: "handshakes",
  seeds: [hello, Handshake.encode({ _tag: "LetsGo" }), Handshake.encode({ _tag: "Sorry", reason: "no" })],
  dictionary: ["Hello", "HelloYourself", "connection_settings", "max_concurrent_requests", "metadata", "resume_key"],
  maxAllocation,
  run: (input) => {
    const message = Handshake.decode(input)
    if (typeof message === "string" || message._tag === "LetsGo" || message._tag === "Sorry") return
    const again = Handshake.decode(Handshake.encode(message))
    expect(typeof again !== "string" && again._tag === message._tag, "what was decoded can be said again")
  }
}

const postcardFault = (error: unknown) => error instanceof Postcard.PostcardFault

export const messages: Target = {
  name: "messages",
  seeds: [unhex("000801"), unhex("02060b0103010203"), unhex("02070300010000004d")],
  accepts: postcardFault,
  maxAllocation,
  run: (input) => void Message.codec.encode(Message.codec.decode(input))
}

export const postcard: Target = {
  name: "postcard",
  seeds: [items.encode({
    flag: true,
    small: [1, -1, 300, -300],
    wide: [70_000, -70_000, BigInt(1), BigInt(-1)],
    floats: [1.5, -1],
    texts: ["a", "é"],
    blob: key,
    inner: key,
    table: new Map([["a", 1]]),
    choice: { _tag: "Some", value: 1 }
  })],
  accepts: postcardFault,
  maxAllocation,
  run: (input) => void items.decode(input)
}

/** The first byte says how the rest is cut into reads. */
export const streams: Target = {
  name: "streams",
  seeds: [Uint8Array.of(3, ...encode(frame), ...encode(new Uint8Array(0)), ...encode(hello))],
  maxAllocation,
  run: (input) => {
    const decoder = new StreamDecoder(4096)
    const step = (input[0] ?? 0) + 1
    let payloads = 0
    for (let at = 1; at < input.length; at += step) {
      const end = Math.min(input.length, at + step)
      const fault = decoder.push(input, at, end, true, {
        payload: (_, __, length) => {
          payloads += length + 4
          return true
        }
      })
      expect(decoder.pending <= input.length, "what is kept has arrived")
      if (fault !== undefined) return
    }
    expect(payloads + decoder.pending === Math.max(0, input.length - 1), "every byte is in a payload or kept")
  }
}

/** The first byte says whether extensions were agreed; then come payloads. */
export const conduits: Target = {
  name: "conduits",
  seeds: [
    Uint8Array.of(
      1,
      ...packed(
        unhex("000000000000"),
        unhex("010000000000"),
        Control.encode("ack", 1),
        Control.encode("ping", 9),
        Control.encode("bye", 2)
      )
    ),
    Uint8Array.of(0, ...packed(unhex("000000000000"), unhex("050000000000")))
  ],
  maxAllocation,
  run: (input) => {
    const state = new ConduitState({
      window: { bytes: 4096, frames: 16 },
      gaps: (input[0] ?? 0) > 1 ? "count" : "fail"
    })
    state.extensions = (input[0] ?? 0) % 2 === 1
    for (let i = 0; i < 4; i++) state.append(Uint8Array.of(i))
    while (state.buffer.take() !== undefined);
    state.markSent()
    let received = 0
    for (const payload of payloadsOf(input.subarray(1))) {
      const kept = state.buffer.frames
      if (!state.payload(payload, 0, payload.length, true)) {
        expect(state.violation !== undefined, "a refusal has a reason")
        break
      }
      expect(state.buffer.frames <= kept, "nothing that arrives adds to the window")
      for (const batch of state.collector.cut(false)) {
        received += batch.count
        state.delivered = batch.lastSeq
      }
      state.takeControl(true)
    }
    expect(received === state.counters.framesReceived, "what was accepted was handed on")
  }
}

export const openings: Target = {
  name: "openings",
  seeds: [
    packed(Prologue.hello("stable"), hello, Handshake.encode({ _tag: "LetsGo" }), clientHello),
    packed(clientHello),
    packed(
      Prologue.accept("stable"),
      Handshake.encode({
        _tag: "HelloYourself",
        settings: Handshake.settings({ parity: "Even" })
      }),
      serverHello
    ),
    packed(serverHello)
  ],
  maxAllocation: (bytes) => maxAllocation(bytes) + 1024,
  run: (input) => {
    const session = Handshake.settings()
    const asked = { key: undefined, lastReceived: undefined, extensions: true }
    for (
      const opening of [
        new AcceptorOpening(),
        new AcceptorOpening({ styles: ["session"], admit: () => "no" }),
        new InitiatorOpening({ style: "naked", session: undefined, hello: asked }),
        new InitiatorOpening({ style: "session", session, hello: asked })
      ]
    ) {
      let steps = 0
      for (const payload of payloadsOf(input)) {
        steps++
        if (opening.payload(payload)._tag !== "More") break
        expect(steps < 4, "an opening is short")
      }
    }
  }
}

export const storedChanges: Target = {
  name: "storedChanges",
  seeds: [changes],
  // A thread hands them on and a checksum guards them, so anything but a hang is an answer; what passes is whole.
  accepts: (error) => error instanceof Error && !error.message.startsWith("broken promise"),
  maxAllocation,
  run: (input) => {
    for (const change of StoreCodec.decode(input)) {
      if (change._tag === "Keys") {
        expect(change.keys.every((key) => key instanceof Uint8Array && key.length === 16), "a key is 16 bytes")
      } else expect(change.seq >>> 0 === change.seq, "a number is a u32")
    }
  }
}

export const changeLogs: Target = {
  name: "changeLogs",
  seeds: [log, log.subarray(0, log.length - 3)],
  accepts: (error) => error instanceof ChangeLog.ChangeLogFault,
  maxAllocation,
  run: (input) => {
    const remembered = ChangeLog.read(input)
    if (remembered !== undefined) expect(remembered.nextSeq >>> 0 === remembered.nextSeq, "a number is a u32")
  }
}

export const all: ReadonlyArray<Target> = [
  frames,
  hellos,
  controls,
  prologues,
  cbor,
  handshakes,
  messages,
  postcard,
  streams,
  conduits,
  openings,
  storedChanges,
  changeLogs
]
