/**
 * The protocol of our client on a bare socket: what a send costs when nobody looks up, pools, supervises, measures or can be interrupted. Speaks as
 * `client.ts` does, of single sends alone.
 */
import { once } from "node:events"
import { connect } from "node:net"
import { createInterface } from "node:readline"
import { Connection, type ConnectionEvent, type SendCompletion } from "@perigee/proto"
import { payload } from "../../proto/bench/machine.ts"
import { producer } from "../../proto/test/support/Broker.ts"
import { latencies, WARMUP, WARMUP_WINDOW, watch } from "./work.ts"

const [serviceUrl] = process.argv.slice(2)
if (serviceUrl === undefined) throw new Error("usage: bare.ts SERVICE_URL")

const connection = new Connection()
const memory = new Uint8Array(64 * 1024)
const address = new URL(serviceUrl)
const socket = connect({
  host: address.hostname,
  port: Number(address.port),
  noDelay: true,
  onread: {
    buffer: memory,
    callback: (length) => {
      connection.handleBytes(performance.now(), memory.slice(0, length))
      drive()
      return true
    }
  }
})

let heard: (event: ConnectionEvent) => void = () => undefined

/** Until something of that name happens. */
const until = (tag: ConnectionEvent["_tag"]) =>
  new Promise<void>((resolve, reject) => {
    heard = (event) => event._tag === tag ? resolve() : reject(new Error(`${event._tag} instead of ${tag}`))
  })

const drive = () => {
  for (let event = connection.pollEvent(); event !== undefined; event = connection.pollEvent()) {
    if (event._tag === "SendDone" || event._tag === "RequestDone") event.complete()
    else heard(event)
  }
  for (const segment of connection.pollTransmit()) socket.write(segment)
}

let producers = 0

const single = async (size: number, count: number, topic: string) => {
  const slot = producer({ topic, batching: undefined, maxPending: WARMUP_WINDOW }, producers++)
  // A broker takes a topic over when it is asked where that topic is.
  await new Promise<void>((found) => {
    connection.lookups.topic(performance.now(), topic, false, undefined, () => found())
    drive()
  })
  const ready = until("ProducerReady")
  connection.producers.open(performance.now(), slot)
  drive()
  await ready
  const message = { payload: payload(size) }
  const send = (messages: number, window: number, samples: Float64Array) =>
    new Promise<void>((resolve, reject) => {
      let sent = 0
      let stored = 0
      let start = 0
      const completion: SendCompletion = {
        onSend: ({ _tag }) => {
          if (_tag !== "Stored") return reject(new Error(_tag))
          samples[stored++] = performance.now() - start
          if (sent < messages) next()
          else if (stored === messages) resolve()
        }
      }
      const next = () => {
        sent++
        start = performance.now()
        slot.enqueue(start, Date.now(), message, completion, 0)
      }
      for (let waiting = 0; waiting < window; waiting++) next()
      drive()
    })
  await send(WARMUP, WARMUP_WINDOW, new Float64Array(WARMUP))
  const samples = new Float64Array(count)
  const figures = watch(count)
  await send(count, 1, samples)
  return { ...figures(), ...latencies(samples) }
}

await once(socket, "connect")
const connected = until("Connected")
connection.begin(performance.now(), { method: "none", data: undefined })
drive()
await connected
for await (const line of createInterface({ input: process.stdin })) {
  const [, size, count, topic = ""] = line.split(" ")
  console.log(JSON.stringify(await single(Number(size), Number(count), topic)))
}
process.exit(0)
