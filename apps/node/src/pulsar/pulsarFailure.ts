/**
 * What went wrong between this process and a Pulsar broker, for people.
 */
import type { PulsarError, SendError } from "@perigee/engine"
import { type Failure, failure } from "../Failure.ts"

const asSentence = (text: string): string => {
  const trimmed = text.trim().replace(/[.\s]+$/, "")
  return trimmed === "" ? "no reason was given" : trimmed
}

/** The broker's own words, if it had any. */
const because = (text: string): string => text.trim() === "" ? "" : `: ${asSentence(text)}`

const unreachable = (url: string, why: string): Failure =>
  failure(
    "E_PULSAR_UNREACHABLE",
    "unreachable",
    `No Pulsar broker was reached at ${url}: ${
      asSentence(why)
    }. Start it, say where it is with --url, or wait longer with --wait SECONDS.`
  )

/** The broker's word on a topic, a subscription or a producer. */
const refusal = (name: string, message: string): Failure => {
  const why = because(message)
  switch (name) {
    case "AuthorizationError":
      return failure(
        "E_PULSAR_FORBIDDEN",
        "unauthorized",
        `The broker knows these credentials, but does not allow this${why}. Ask for the permission, or give another token.`
      )
    case "TopicNotFound":
      return failure(
        "E_PULSAR_NO_TOPIC",
        "refused",
        `There is no such topic${why}. Check its name, or create it (--create, where the broker allows that).`
      )
    case "SubscriptionNotFound":
      return failure("E_PULSAR_NO_SUBSCRIPTION", "refused", `There is no such subscription${why}. Check its name.`)
    case "ConsumerBusy":
      return failure(
        "E_PULSAR_BUSY",
        "refused",
        `Somebody else has the subscription${why}. Stop the other consumer, or choose another --subscription or --type.`
      )
    case "ProducerBusy":
    case "ProducerFenced":
      return failure(
        "E_PULSAR_BUSY",
        "refused",
        `Somebody else has the topic or the producer's name${why}. Stop the other producer, or choose another --name.`
      )
    case "IncompatibleSchema":
      return failure("E_PULSAR_SCHEMA", "refused", `The topic has a schema that bytes do not fit${why}.`)
    default:
      return failure("E_PULSAR_REFUSED", "refused", `The broker refused: ${name}${why}.`)
  }
}

/** `url` is the service address that was given. */
export const pulsarFailure = (url: string) => (error: PulsarError | SendError): Failure => {
  if (error._tag === "SendError") return sendFailure(error)
  const { reason } = error
  switch (reason._tag) {
    case "InvalidOptions":
      return failure("E_PULSAR_OPTION", "usage", `An option does not fit: ${asSentence(reason.why)}.`)
    case "Connect":
      return unreachable(url, reason.why)
    case "Authentication":
      return failure(
        "E_PULSAR_TOKEN",
        "unauthorized",
        `The broker at ${url} did not accept the credentials: ${
          asSentence(reason.why)
        }. Give others with PULSAR_TOKEN, --token-file or --tls-cert and --tls-key.`
      )
    case "Refused":
      return refusal(reason.name, reason.message)
    case "Timeout":
      return reason.last === undefined
        ? failure(
          "E_PULSAR_TIMEOUT",
          "unreachable",
          `The broker at ${url} did not answer in time (${reason.operation}). Wait longer with --wait SECONDS.`
        )
        : pulsarFailure(url)(reason.last)
    case "SessionLost":
      return unreachable(url, "the connection broke before the answer came")
    case "Closed":
      return failure("E_PULSAR_CLOSED", "refused", `The broker ended it: ${asSentence(reason.why)}.`)
    case "Undecodable":
      return failure("E_PULSAR_SCHEMA", "input", `${asSentence(error.message)}.`)
  }
}

const sendFailure = ({ reason }: SendError): Failure =>
  reason._tag === "NotDone"
    ? failure("E_PULSAR_NOT_SENT", "store", `Not sent: ${asSentence(reason.why)}.`)
    : failure(
      "E_PULSAR_UNKNOWN",
      "store",
      `It is unknown whether the last messages are on the topic: ${asSentence(reason.why)}.`
    )
