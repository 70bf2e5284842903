/**
 * What the bus says went wrong, as problems of the API.
 */
import type { Adapter, Poll, PublishError } from "@perigee/bus"
import * as Problem from "./Problem.ts"

export type AppendProblem =
  | Problem.BadRequest
  | Problem.RequestTimeout
  | Problem.Conflict
  | Problem.TooLarge
  | Problem.UnsupportedMediaType
  | Problem.Unavailable
  | Problem.StorageFull

type Progress = { readonly progress?: Problem.AppendSummary }

/** With `progress`, says what was stored before. */
export const publishProblem = (
  error: PublishError.PublishError,
  summary: Problem.AppendSummary | undefined
): AppendProblem => {
  const progress: Progress = summary === undefined ? {} : { progress: summary }
  const { message, reason } = error
  switch (reason._tag) {
    case "ShuttingDown":
      return new Problem.Unavailable({
        code: "E_STOPPING",
        detail: "The node is stopping. Send the rest again once it is back.",
        ...progress
      })
    case "TooLarge":
      return new Problem.TooLarge({
        code: "E_EVENT_SIZE",
        detail: `An event is too large: ${message}.`,
        limit: reason.limit,
        ...progress
      })
    case "Serialization":
      return new Problem.BadRequest({ code: "E_JSON", detail: `An event is not JSON: ${message}.`, ...progress })
    case "SequenceGap":
      return new Problem.Conflict({
        code: "E_SEQUENCE",
        detail: `Sequence ${reason.received} leaves a gap: the next event of this producer is ${reason.expected}.`,
        resume_from: reason.expected,
        ...progress
      })
    case "InvalidProducer":
    case "InvalidKeys":
      return new Problem.BadRequest({ code: "E_REQUEST", detail: `${capitalise(message)}.`, ...progress })
    case "InvalidChannel":
      return new Problem.BadRequest({ code: "E_CHANNEL", detail: `${capitalise(message)}.`, ...progress })
    case "Backpressure":
    case "Unrouted":
      return new Problem.Unavailable({
        code: "E_BACKPRESSURE",
        detail: `The node cannot take more events now: ${message}.`,
        ...progress
      })
    case "ProducerUnavailable":
      return new Problem.Unavailable({
        code: "E_STORE",
        detail: `The store cannot be read: ${message}. Send the same again.`,
        ...progress
      })
    case "NotStored":
      return isFull(reason.cause)
        ? new Problem.StorageFull({
          code: "E_STORE_FULL",
          detail:
            `No room is left on the device of the state directory: ${message}. Make room, then send the rest again.`,
          ...progress
        })
        : new Problem.Unavailable({
          code: "E_NOT_STORED",
          detail: `${capitalise(message)}. Send the rest again.`,
          ...progress
        })
    case "Unknown":
      return new Problem.Unavailable({
        code: "E_UNKNOWN",
        detail: `${
          capitalise(message)
        }. Send again under a producer name and sequence, so that nothing is stored twice.`,
        ...progress
      })
  }
}

export const capitalise = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1)

const isFull = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && "_tag" in cause && cause._tag === "AdapterError" &&
  (cause as Adapter.AdapterError).reason._tag === "Full"

export const pollProblem = (error: Poll.PollError): Problem.BadRequest | Problem.Unavailable => {
  switch (error.reason._tag) {
    case "Adapter":
      return new Problem.Unavailable({ code: "E_STORE", detail: `The store cannot be read: ${error.message}.` })
    case "InvalidCursor":
      return new Problem.BadRequest({ code: "E_CURSOR", detail: `${capitalise(error.message)}.` })
    case "InvalidFilter":
      return new Problem.BadRequest({ code: "E_FILTER", detail: `${capitalise(error.message)}.` })
    case "InvalidRequest":
      return new Problem.BadRequest({ code: "E_REQUEST", detail: `${capitalise(error.message)}.` })
  }
}
