/**
 * A script: commands to a broker, and a record of what came back. It runs against any broker; two that behave alike give equal records.
 */
import { MessageId } from "@perigee/proto/wire"
import { Data, Effect, type Scope } from "effect"
import type { Socket } from "effect/socket"
import type { Plain, Received, WireClient, WireTimeout } from "../../support/WireClient.ts"

export class OperatorError
  extends Data.TaggedError("OperatorError")<{ readonly message: string; readonly cause?: unknown }>
{}

export type ScriptError = Socket.SocketError | WireTimeout | OperatorError

/** What an operator does, on the broker at hand. */
export interface Operator {
  readonly setPartitions: (topic: string, count: number) => Effect.Effect<void, OperatorError>
  readonly terminate: (topic: string) => Effect.Effect<void, OperatorError>
  readonly unload: (topic: string) => Effect.Effect<void, OperatorError>
  readonly deleteTopic: (topic: string) => Effect.Effect<void, OperatorError>
  /** Compacts a topic and waits until that is done. */
  readonly compact: (topic: string) => Effect.Effect<void, OperatorError>
}

export interface World {
  /** A fresh connection that has shaken hands. */
  readonly connect: Effect.Effect<WireClient, ScriptError, Scope.Scope>
  /** A fresh connection that has said nothing. */
  readonly open: Effect.Effect<WireClient, ScriptError, Scope.Scope>
  readonly namespace: string
  readonly topic: (name: string) => string
  readonly operator: Operator
  readonly see: (label: string, value: unknown) => void
}

export interface Script {
  readonly name: string
  readonly deduplication?: boolean
  readonly run: (world: World) => Effect.Effect<void, ScriptError, Scope.Scope>
}

export const script = (
  name: string,
  run: (world: World) => Generator<Effect.Effect<unknown, ScriptError, Scope.Scope>, void, never>,
  options: { readonly deduplication?: boolean } = {}
): Script => ({ name, run: (world) => Effect.gen(() => run(world)), ...options })

/** Type and fields of an answer. */
export const answer = ({ body, type }: Received): Plain => ({ type, ...body })

const decoder = new TextDecoder()

/** What a delivered message shows its consumer. */
export const shown = ({ message }: Received): Plain =>
  message === undefined ? { corrupt: true } : {
    ledgerId: message.delivery.messageId.ledger.toString(),
    entry: message.delivery.messageId.entry.toString(),
    partition: message.delivery.messageId.partition,
    redelivery: message.delivery.redeliveryCount,
    ackSet: message.delivery.ackSet?.map(String),
    epoch: message.delivery.consumerEpoch,
    producer: message.metadata.producerName,
    sequence: message.metadata.sequenceId.toString(),
    batch: message.metadata.batchSize,
    index: message.brokerEntry?.index?.toString(),
    payload: message.metadata.batchSize === undefined
      ? decoder.decode(message.payload)
      : Buffer.from(message.payload).toString("hex")
  }

export const idOf = ({ message }: Received): MessageId.MessageId => message?.delivery.messageId ?? MessageId.earliest

/** Texts of what arrived for a consumer, in order. */
export const text = ({ message }: Received): string =>
  message === undefined ? "(corrupt)" : decoder.decode(message.payload)

/** Takes `count` messages of a consumer. */
export const messages = (client: WireClient, count: number, consumerId = 0) =>
  Effect.forEach(
    Array.from({ length: count }),
    () => client.next("MESSAGE", ({ body }) => body["consumerId"] === String(consumerId))
  )

/** What arrives for a consumer: `expected` messages however long they take, and what else comes in the time a broker here needs to send something. */
export const quiet = (client: WireClient, consumerId = 0, expected = 0) => {
  const arrived = () =>
    client.inbox.filter(({ body, type }) => type === "MESSAGE" && body["consumerId"] === String(consumerId))
  return Effect.sync(() => arrived().length >= expected).pipe(
    Effect.delay(20),
    Effect.repeat({ until: (complete) => complete }),
    Effect.timeoutOption("10 seconds"),
    Effect.delay(300),
    Effect.map(() => arrived().map(text))
  )
}

/** Makes records of two brokers comparable: ledgers by order of appearance, no texts for humans, no addresses, no clocks. */
export const normalise = (
  record: ReadonlyArray<readonly [string, unknown]>,
  namespace: string
): ReadonlyArray<readonly [string, unknown]> => {
  const ledgers = new Map<string, string>()
  const walk = (value: unknown, key: string): unknown => {
    switch (key) {
      case "ledgerId": {
        if (typeof value !== "string" || value.startsWith("-") || value === MessageId.latest.ledger.toString()) {
          return value
        }
        const name = ledgers.get(value) ?? `ledger ${ledgers.size}`
        ledgers.set(value, name)
        return name
      }
      case "highestSequenceId":
        // For a single message the broker says 0 or -1, by whether it used the memory before.
        return value === "0" ? "-1" : value
      case "message":
      case "errorMessage":
        return typeof value === "string" ? "(text)" : value
      case "serverVersion":
      case "topicsHash":
      case "brokerServiceUrl":
      case "address":
      case "connectedSince":
      // Depends on how the broker is deployed, not on the command.
      case "proxyThroughServiceUrl":
        return "(varies)"
      case "producerName":
      case "producer":
        return typeof value === "string" && value.startsWith("standalone-") ? "(generated)" : value
    }
    if (typeof value === "string") return value.replace(namespace, "(namespace)")
    if (Array.isArray(value)) return value.map((inner) => walk(inner, ""))
    if (typeof value !== "object" || value === null) return value
    return Object.fromEntries(
      Object.entries(value).filter(([, inner]) => inner !== undefined).sort(([a], [b]) => a < b ? -1 : 1).map((
        [inner, of]
      ) => [inner, walk(of, inner)])
    )
  }
  return record.map(([label, value]) => [label, walk(value, "")] as const)
}
