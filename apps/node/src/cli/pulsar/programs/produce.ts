/**
 * Sends lines as messages.
 */
import { JsonLines } from "@perigee/bus"
import { Producer } from "@perigee/engine"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { describe, exitCodes, failure } from "../../../Failure.ts"
import { Lines } from "../../../pulsar/Lines.ts"
import { readEnvelope } from "../../../pulsar/messageText.ts"
import { pulsarFailure } from "../../../pulsar/pulsarFailure.ts"
import { Sender } from "../../../pulsar/Sender.ts"
import { watch } from "../../../pulsar/Watch.ts"
import * as Source from "../../../Source.ts"
import { interruption } from "../../Interruption.ts"
import { count, printLine, rate } from "../../Output.ts"
import * as Progress from "../../Progress.ts"
import type { ProduceOptions } from "../Produce.ts"
import { client } from "./client.ts"

type Outgoing = Producer.Outgoing<Uint8Array>

/** Messages and bytes on their way at once. */
const window = { messages: 10_000, bytes: 32 * 1024 * 1024 }
/** Most of one submission. */
const submission = { messages: 1000, bytes: 1024 * 1024 }

/** Lines that are refused and shown one by one. */
const shown = 20

interface Taken {
  readonly number: number
  readonly message: Outgoing | undefined
  /** Why there is no message. */
  readonly why: string
}

/** Cuts chunks into messages. */
interface Cutter {
  readonly push: (chunk: Uint8Array) => ReadonlyArray<Taken>
  readonly end: () => ReadonlyArray<Taken>
}

const refusedLine = (number: number, why: string): Taken => ({ number, message: undefined, why })

const jsonCutter = (longest: number): Cutter => {
  const decoder = new JsonLines.JsonLines({ maxLineBytes: Math.min(longest, 67_108_864) })
  const taken = (batch: JsonLines.LineBatch): ReadonlyArray<Taken> => {
    const lines: Array<Taken> = batch.rejected.map((line) =>
      refusedLine(line.line, `${line.reason} at byte ${line.offset}`)
    )
    for (let at = 0; at < batch.count; at++) {
      lines.push({
        number: 0,
        // The decoder uses its memory again.
        message: { value: batch.bytes.slice(batch.starts[at]!, batch.ends[at]!) },
        why: ""
      })
    }
    return lines
  }
  return { push: (chunk) => taken(decoder.push(chunk)), end: () => taken(decoder.end()) }
}

const lineCutter = (longest: number, read: (bytes: Uint8Array) => Result.Result<Outgoing, string>): Cutter => {
  const lines = new Lines(longest)
  const taken = (found: ReturnType<Lines["push"]>): ReadonlyArray<Taken> =>
    found.map(({ bytes, number }) => {
      if (bytes === undefined) return refusedLine(number, `longer than ${count(longest)} bytes`)
      const message = read(bytes)
      return Result.isSuccess(message)
        ? { number, message: message.success, why: "" }
        : refusedLine(number, message.failure)
    })
  return { push: (chunk) => taken(lines.push(chunk)), end: () => taken(lines.end()) }
}

const propertiesOf = Effect.fnUntraced(function*(pairs: ReadonlyArray<string>) {
  const properties: Record<string, string> = Object.create(null)
  for (const pair of pairs) {
    const at = pair.indexOf("=")
    if (at < 1) return yield* failure("E_PULSAR_OPTION", "usage", `--property ${pair} is no NAME=VALUE.`)
    properties[pair.slice(0, at)] = pair.slice(at + 1)
  }
  return properties
})

interface Figures {
  readonly read: number
  readonly stored: number
  readonly pending: number
  readonly rejected: number
  readonly millis: number
}

export const run = (options: ProduceOptions) =>
  Effect.scoped(Effect.gen(function*() {
    const toFailure = pulsarFailure(options.url)
    const key = Option.getOrUndefined(options.key)
    const properties = yield* propertiesOf(options.property)
    const hasProperties = Object.keys(properties).length > 0
    const name = Option.getOrUndefined(options.name)
    const first = Option.getOrUndefined(options.sequence)
    if (first !== undefined && name === undefined) {
      return yield* failure("E_PULSAR_OPTION", "usage", "--sequence is for a producer with a --name.")
    }
    const source = yield* Source.open(options.file)
    const producer = yield* Effect.mapError(
      Producer.make({
        topic: options.topic,
        name,
        initialSequenceId: first,
        batching: options.batchMessages === 1
          ? false
          : { maxMessages: options.batchMessages, maxBytes: options.batchBytes, maxDelay: options.batchDelay },
        compression: options.compression,
        chunking: options.chunking,
        sendTimeout: Duration.seconds(options.sendTimeout),
        maxPending: window.messages
      }),
      toFailure
    )
    const started = yield* Clock.currentTimeMillis
    const meter = Progress.meter<Figures>(
      (figures, ended) =>
        ` ${count(figures.read)} ${
          Progress.bar(
            ended || source.size === undefined || source.size === 0 ? undefined : source.position() / source.size
          )
        }stored ${count(figures.stored)}  pending ${count(figures.pending)}  rejected ${count(figures.rejected)}  ${
          rate(figures.stored, figures.millis)
        }`
    )
    yield* watch(meter.interrupt)
    const sender = yield* Sender.make(producer, window)
    const limit = Option.getOrElse(options.count, () => Number.POSITIVE_INFINITY)
    const cutter = options.format === "json"
      ? jsonCutter(options.maxMessageBytes)
      : lineCutter(
        options.maxMessageBytes,
        options.format === "envelope" ? readEnvelope : (value) => Result.succeed({ value })
      )
    let read = 0
    let rejected = 0

    const figures = Effect.map(Clock.currentTimeMillis, (now): Figures => ({
      read,
      stored: sender.stored,
      pending: sender.pending,
      rejected,
      millis: now - started
    }))

    const complete = (message: Outgoing): Outgoing => ({
      ...message,
      ...(key === undefined || message.key !== undefined || message.keyBytes !== undefined ? {} : { key }),
      ...(hasProperties ? { properties: { ...properties, ...message.properties } } : {}),
      ...(first === undefined ? {} : { sequenceId: first + read })
    })

    /** Submits the messages of one chunk; false when there is no use in reading on. */
    const take = Effect.fnUntraced(function*(lines: ReadonlyArray<Taken>) {
      let batch: Array<Outgoing> = []
      let bytes = 0
      let at = read
      const submit = Effect.suspend(() => {
        const submitted = batch
        const from = at
        batch = []
        bytes = 0
        at = read
        return submitted.length === 0 ? Effect.succeed(true) : sender.send(submitted, from)
      })
      for (const { message, number, why } of lines) {
        if (message === undefined) {
          if (++rejected <= shown) yield* meter.interrupt(`perigee: line ${number} is refused: ${why}`)
          continue
        }
        if (read >= limit) break
        if (batch.length > 0 && bytes + message.value.length > submission.bytes && !(yield* submit)) return false
        batch.push(complete(message))
        bytes += message.value.length
        read++
        if (batch.length >= submission.messages && !(yield* submit)) return false
      }
      if (!(yield* submit)) return false
      yield* Effect.flatMap(figures, meter.update)
      return read < limit
    })

    const readAll = Effect.gen(function*() {
      const chunks = source.chunks[Symbol.asyncIterator]()
      while (true) {
        const next = yield* Effect.tryPromise({
          try: () => chunks.next(),
          catch: (cause) =>
            cause instanceof Source.SourceError
              ? cause.failure
              : failure("E_INPUT", "input", `The input broke off: ${describe(cause)}.`)
        })
        if (next.done === true) break
        if (!(yield* take(cutter.push(next.value)))) return
      }
      yield* take(cutter.end())
    })

    /** What was submitted ends one way or the other, also after a signal: the send timeout bounds it. */
    const finish = Effect.gen(function*() {
      yield* producer.flush
      yield* sender.settled
      yield* Effect.flatMap(figures, meter.end)
      if (options.json) {
        yield* printLine(JSON.stringify({
          topic: producer.topic,
          producer: yield* producer.name,
          read,
          stored: sender.stored,
          duplicates: sender.duplicates,
          not_stored: sender.notStored,
          unknown: sender.unknown,
          rejected,
          last_sequence_id: yield* producer.lastSequenceId,
          millis: (yield* Clock.currentTimeMillis) - started
        }))
      }
      if (sender.unknown > 0 || sender.notStored > 0) interruption.endsWith(exitCodes.store)
    })

    yield* readAll.pipe(Effect.onExit((exit) =>
      Effect.andThen(
        Exit.hasInterrupts(exit) ? meter.interrupt("perigee: interrupted; waiting for what was sent") : Effect.void,
        finish
      )
    ))

    if (sender.failure !== undefined) {
      const { at, error } = sender.failure
      const { code, message } = toFailure(error)
      const rest = [
        `${count(sender.stored)} are on the topic`,
        ...(sender.notStored === 0 ? [] : [`${count(sender.notStored)} are not`]),
        ...(sender.unknown === 0 ? [] : [`${count(sender.unknown)} may be`])
      ].join(", ")
      const advice = sender.unknown === 0
        ? ""
        : " To send again without storing any twice, deduplicate on the topic and give --name and --sequence."
      return yield* failure(
        code,
        "store",
        `Message ${count(at + 1)} did not get through. ${message} Of ${count(read)} messages read, ${rest}.${advice}`
      )
    }
    if (rejected > 0) {
      return yield* failure(
        "E_LINES",
        "input",
        `${count(rejected)} line(s) of ${options.file} were left out; the others are on the topic.`
      )
    }
  })).pipe(Effect.provide(client(options)))
