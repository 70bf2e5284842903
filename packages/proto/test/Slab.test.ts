import { assert, describe, it } from "@effect/vitest"
import { Connection } from "../src/Connection.ts"
import * as Commands from "../src/wire/Commands.ts"
import * as Frame from "../src/wire/Frame.ts"
import { Outcomes, producer, Type } from "./support/Broker.ts"
import { Dice } from "./support/Dice.ts"

/** A socket that reads the memory it was given late, and a broker behind it. */
class LateSocket {
  /** Sequence ids of the entries that arrived whole and were not confirmed. */
  readonly arrived: Array<{ readonly from: number; readonly to: number }> = []
  readonly #segments: Array<Uint8Array> = []
  readonly #decoder = new Frame.FrameDecoder()

  write(segments: ReadonlyArray<Uint8Array>): void {
    this.#segments.push(...segments)
  }

  get queued(): number {
    return this.#segments.length
  }

  /** Sends one segment on its way: only now are its bytes looked at. */
  advance(): void {
    const segment = this.#segments.shift()
    if (segment === undefined) return
    this.#decoder.push(segment.slice())
    while (this.#decoder.next()) {
      const { buffer, commandEnd, commandStart, frameEnd } = this.#decoder
      const command = Commands.decode(buffer.slice(commandStart, commandEnd))
      if (command.type !== Type.SEND) continue
      const { computed, expected } = Frame.readPayload(buffer, commandEnd, frameEnd)
      assert.strictEqual(computed, expected, "an entry was written over before it was sent")
      const { highestSequenceId, sequenceId } = command.send!
      this.arrived.push({
        from: Number(sequenceId),
        to: Object.hasOwn(command.send!, "highestSequenceId") ? Number(highestSequenceId) : Number(sequenceId)
      })
    }
  }
}

const connected = (): { readonly connection: Connection; readonly socket: LateSocket } => {
  const connection = new Connection()
  begin(connection)
  return { connection, socket: new LateSocket() }
}

const begin = (connection: Connection) => {
  connection.begin(0, { method: "none", data: undefined })
  connection.pollTransmit()
  say(connection, { type: Type.CONNECTED, connected: { serverVersion: "b" } })
}

const say = (connection: Connection, command: Commands.CommandInit) => {
  connection.handleBytes(0, Commands.encode(command))
  for (let event = connection.pollEvent(); event !== undefined; event = connection.pollEvent()) {
    if (event._tag === "SendDone") event.complete()
  }
}

describe("the memory that entries are built in", () => {
  it.each([1, 2, 3, 4, 5, 6])(
    "is not written again before every socket has read it, through lost sessions and moves (seed %i)",
    (seed) => {
      const dice = new Dice(seed)
      const slot = producer({
        batching: { maxMessages: 1 + dice.one(100), maxBytes: 128 * 1024, maxDelay: 1, byKey: seed % 3 === 0 },
        maxPending: 3000,
        sendTimeout: 0
      })
      const outcomes = new Outcomes()
      let { connection, socket } = connected()
      const abandoned: Array<LateSocket> = []
      const open = () => {
        connection.producers.open(0, slot)
        say(connection, {
          type: Type.PRODUCER_SUCCESS,
          producerSuccess: { requestId: BigInt(slot.openRequest!), producerName: "p" }
        })
      }
      open()
      let sent = 0
      for (let step = 0; step < 6000; step++) {
        switch (dice.one(12)) {
          case 0:
          case 1:
          case 2:
          case 3: {
            const payload = new Uint8Array(dice.one(dice.one(20) === 0 ? 100_000 : 3000)).fill(dice.one(256))
            const key = seed % 3 === 0 ? `k${dice.one(5)}` : undefined
            if (slot.enqueue(0, 1, { payload, key }, outcomes, sent) === undefined) sent++
            break
          }
          case 4:
            slot.flush()
            break
          case 5:
          case 6:
            socket.write(connection.pollTransmit())
            break
          case 7:
            abandoned[dice.one(abandoned.length + 1)]?.advance()
            break
          case 8: {
            const entry = socket.arrived.shift()
            if (entry === undefined) break
            say(connection, {
              type: Type.SEND_RECEIPT,
              sendReceipt: {
                producerId: BigInt(slot.id),
                sequenceId: BigInt(entry.from),
                highestSequenceId: BigInt(entry.to),
                messageId: { ledgerId: 1n, entryId: BigInt(step) }
              }
            })
            break
          }
          case 9:
            if (dice.one(60) > 0) break
            // The session is lost, or the producer moves; what the old socket holds may still go out.
            abandoned.push(socket)
            if (dice.one(2) === 0) {
              connection.disconnected("lost")
              connection.reset()
              begin(connection)
              socket = new LateSocket()
            } else {
              connection.producers.release(slot.id)
              ;({ connection, socket } = connected())
            }
            open()
            break
          default:
            socket.advance()
        }
      }
      for (const late of [...abandoned, socket]) while (late.queued > 0) late.advance()
      assert.isAbove(outcomes.seen.length, 500)
      assert.isAbove(abandoned.length, 1)
    }
  )
})
