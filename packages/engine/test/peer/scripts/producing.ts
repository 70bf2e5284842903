import { Api, Commands } from "@perigee/proto/wire"
import { answer, messages, script, shown } from "./Script.ts"

const mode = Api.ProducerAccessMode

export const producing = [
  script("opens a producer and gets a receipt for each message, each batch", function*({ connect, see, topic }) {
    const client = yield* connect
    see("lookup", answer(yield* client.lookup(topic("a"))))
    see("partitions", answer(yield* client.partitions(topic("a"))))
    see("open", answer(yield* client.producer(topic("a"))))
    see(
      "named",
      answer(
        yield* client.producer(topic("a"), { producerId: 1n, producerName: "mine", userProvidedProducerName: true })
      )
    )
    for (let sequenceId = 0; sequenceId < 3; sequenceId++) {
      see("receipt", answer(yield* client.sent({ sequenceId, payload: `m${sequenceId}` })))
    }
    see(
      "batch",
      answer(yield* client.sent({ sequenceId: 3, payload: "", batch: ["a", "b", "c"], highestSequenceId: 5 }))
    )
    see("again", answer(yield* client.sent({ sequenceId: 3, payload: "the same sequence id" })))
    see(
      "close",
      answer(
        yield* client.request(
          "SUCCESS",
          (requestId) => ({ type: Commands.Type.CLOSE_PRODUCER, closeProducer: { producerId: 0n, requestId } })
        )
      )
    )
    see(
      "close again",
      answer(
        yield* client.request(
          "SUCCESS",
          (requestId) => ({ type: Commands.Type.CLOSE_PRODUCER, closeProducer: { producerId: 0n, requestId } })
        )
      )
    )
  }),
  script("refuses a wrong checksum and keeps the connection", function*({ connect, see, topic }) {
    const client = yield* connect
    yield* client.producer(topic("a"))
    see("corrupt", answer(yield* client.sent({ sequenceId: 0, payload: "bent", corrupt: true })))
    see("whole", answer(yield* client.sent({ sequenceId: 1, payload: "whole" })))
  }),
  script("ends the connection of whoever sends without a producer", function*({ connect, see, topic }) {
    const client = yield* connect
    yield* client.producer(topic("a"))
    yield* client.send({ producerId: 7, sequenceId: 0, payload: "x" })
    yield* client.ended
    see("ended", true)
  }),
  script("lets a name in once", function*({ connect, see, topic }) {
    const one = yield* connect
    const two = yield* connect
    const named = { producerName: "mine", userProvidedProducerName: true }
    see("first", answer(yield* one.producer(topic("a"), named)))
    see("other connection", answer(yield* two.producer(topic("a"), named)))
    see("other id", answer(yield* one.producer(topic("a"), { ...named, producerId: 1n })))
    see("same id, same epoch", answer(yield* one.producer(topic("a"), named)))
    see("same id, later epoch", answer(yield* one.producer(topic("a"), { ...named, epoch: 1n })))
    see("send", answer(yield* one.sent({ sequenceId: 0, payload: "x" })))
  }),
  script("gives an exclusive producer the topic for itself", function*({ connect, see, topic }) {
    const one = yield* connect
    const two = yield* connect
    const three = yield* connect
    see("exclusive", answer(yield* one.producer(topic("a"), { producerAccessMode: mode.Exclusive })))
    see("second exclusive", answer(yield* two.producer(topic("a"), { producerAccessMode: mode.Exclusive })))
    see("shared", answer(yield* two.producer(topic("a"), { producerId: 1n })))
    see(
      "waiting",
      answer(yield* two.producer(topic("a"), { producerId: 2n, producerAccessMode: mode.WaitForExclusive }))
    )
    yield* one.request(
      "SUCCESS",
      (requestId) => ({ type: Commands.Type.CLOSE_PRODUCER, closeProducer: { producerId: 0n, requestId } })
    )
    see("its turn", answer(yield* two.next("PRODUCER_SUCCESS")))
    see("send", answer(yield* two.sent({ producerId: 2, sequenceId: 0, payload: "x" })))
    see("fencing", answer(yield* three.producer(topic("a"), { producerAccessMode: mode.ExclusiveWithFencing })))
    yield* two.send({ producerId: 2, sequenceId: 1, payload: "x" })
    yield* two.ended
    const four = yield* connect
    see(
      "fenced",
      answer(yield* four.producer(topic("a"), { producerId: 3n, producerAccessMode: mode.Exclusive, topicEpoch: 1n }))
    )
    see("send after", answer(yield* three.sent({ sequenceId: 0, payload: "y" })))
  }),
  script("refuses exclusive access beside shared producers", function*({ connect, see, topic }) {
    const one = yield* connect
    const two = yield* connect
    yield* one.producer(topic("a"))
    see("exclusive", answer(yield* two.producer(topic("a"), { producerAccessMode: mode.Exclusive })))
    see(
      "waiting",
      answer(yield* two.producer(topic("a"), { producerId: 1n, producerAccessMode: mode.WaitForExclusive }))
    )
  }),
  script("recognises what it stored before", function*({ connect, see, topic }) {
    const named = { producerName: "mine", userProvidedProducerName: true }
    const client = yield* connect
    see("open", answer(yield* client.producer(topic("a"), named)))
    const metadata = { producerName: "mine" }
    for (const sequenceId of [0, 1, 1, 0, 5]) {
      see(`send ${sequenceId}`, answer(yield* client.sent({ sequenceId, payload: `m${sequenceId}`, metadata })))
    }
    see(
      "batch",
      answer(yield* client.sent({ sequenceId: 6, payload: "", batch: ["a", "b"], highestSequenceId: 7, metadata }))
    )
    see("inside the batch", answer(yield* client.sent({ sequenceId: 7, payload: "again", metadata })))
    yield* client.request(
      "SUCCESS",
      (requestId) => ({ type: Commands.Type.CLOSE_PRODUCER, closeProducer: { producerId: 0n, requestId } })
    )
    see("open again", answer(yield* client.producer(topic("a"), { ...named, producerId: 1n })))
    see("stale", answer(yield* client.sent({ producerId: 1, sequenceId: 3, payload: "stale", metadata })))
    see("fresh", answer(yield* client.sent({ producerId: 1, sequenceId: 8, payload: "fresh", metadata })))
    yield* client.subscribe(topic("a"), "s")
    yield* client.flow(10)
    see("stored", (yield* messages(client, 5)).map(shown))
  }, { deduplication: true }),
  script("stores the chunks of a message under one sequence id", function*({ connect, see, topic }) {
    const client = yield* connect
    yield* client.producer(topic("a"), { producerName: "mine", userProvidedProducerName: true })
    for (const round of ["u1", "u1"]) {
      for (let chunkId = 0; chunkId < 3; chunkId++) {
        const metadata = { producerName: "mine", uuid: round, chunkId, chunkCount: 3, chunkTotalSize: 6 }
        see(`chunk ${chunkId}`, answer(yield* client.sent({ sequenceId: 4, payload: `c${chunkId}`, metadata })))
      }
    }
  }, { deduplication: true })
]
