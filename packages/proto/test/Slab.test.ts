import { assert, describe, it } from "@effect/vitest"
import type { ProducerSlot } from "../src/connection/ProducerSlot.ts"
import { Connection } from "../src/Connection.ts"
import * as Commands from "../src/wire/Commands.ts"
import * as Frame from "../src/wire/Frame.ts"
import { Outcomes, producer, Type } from "./support/Broker.ts"
import { dice } from "./support/Dice.ts"

/** A socket that reads the memory it was given late, and a broker behind it. */
class LateSocket {
  /** Sequence ids of the entries that arrived whole and were not confirmed. */
  readonly arrived: Array<{ readonly producerId: number; readonly from: number; readonly to: number }> = []
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
      const { highestSequenceId, producerId, sequenceId } = command.send!
      this.arrived.push({
        producerId: Number(producerId),
        from: Number(sequenceId),
        to: Object.hasOwn(command.send!, "highestSequenceId") ? Number(highestSequenceId) : Number(sequenceId)
      })
    }
  }
}

const ignored = { onSend: () => undefined }

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
      const roll = dice(seed)
      const slot = producer({
        batching: { maxMessages: 1 + roll(100), maxBytes: 128 * 1024, maxDelay: 1, byKey: seed % 3 === 0 },
        compression: seed === 6 ? "lz4" : "none",
        maxPending: 3000,
        sendTimeout: 0
      })
      // Another producer takes turns with the same memory.
      const other = producer({ maxPending: 3000, sendTimeout: 0 }, 8)
      const outcomes = new Outcomes()
      let { connection, socket } = connected()
      const abandoned: Array<LateSocket> = []
      const open = (slot: ProducerSlot) => {
        connection.producers.open(0, slot)
        say(connection, {
          type: Type.PRODUCER_SUCCESS,
          producerSuccess: { requestId: BigInt(slot.openRequest!), producerName: `p${slot.id}` }
        })
      }
      open(slot)
      open(other)
      let sent = 0
      let otherSent = 0
      for (let step = 0; step < 6000; step++) {
        switch (roll(14)) {
          case 0:
          case 1:
          case 2:
          case 3: {
            const payload = new Uint8Array(roll(roll(20) === 0 ? 100_000 : 3000)).fill(roll(256))
            const key = seed % 3 === 0 ? `k${roll(5)}` : undefined
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
            abandoned[roll(abandoned.length + 1)]?.advance()
            break
          case 8: {
            const entry = socket.arrived.shift()
            if (entry === undefined) break
            say(connection, {
              type: Type.SEND_RECEIPT,
              sendReceipt: {
                producerId: BigInt(entry.producerId),
                sequenceId: BigInt(entry.from),
                highestSequenceId: BigInt(entry.to),
                messageId: { ledgerId: 1n, entryId: BigInt(step) }
              }
            })
            break
          }
          case 9:
            if (roll(40) > 0) break
            if (roll(2) === 0) {
              // The broker closes the producer, which opens again on the same connection.
              say(connection, {
                type: Type.CLOSE_PRODUCER,
                closeProducer: { producerId: BigInt(slot.id), requestId: 0n }
              })
              open(slot)
              break
            }
            // The session is lost, or the producer moves; what the old socket holds may still go out.
            abandoned.push(socket)
            if (roll(2) === 0) {
              connection.disconnected("lost")
              connection.reset()
              begin(connection)
              socket = new LateSocket()
            } else {
              connection.producers.release(slot.id)
              connection.producers.release(other.id)
              ;({ connection, socket } = connected())
            }
            open(slot)
            open(other)
            break
          case 10: {
            const refused = socket.arrived.shift()
            if (refused === undefined || roll(10) > 0) break
            say(connection, {
              type: Type.SEND_ERROR,
              sendError: {
                producerId: BigInt(refused.producerId),
                sequenceId: BigInt(refused.from),
                error: 4,
                message: "no"
              }
            })
            break
          }
          case 11:
            if (
              other.enqueue(0, 1, { payload: new Uint8Array(roll(2000)).fill(7) }, ignored, otherSent) === undefined
            ) {
              otherSent++
            }
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
