/**
 * Why a node did not start, for people.
 */
import { BusConfig, ProducerIdentity } from "@perigee/bus"
import { SqliteStoreError } from "@perigee/bus/sqlite"
import { basename, dirname } from "node:path"
import { describe, Failure, failure } from "./Failure.ts"

/** `2026-03-01 12:04` */
const since = (millis: number): string => new Date(millis).toISOString().slice(0, 16).replace("T", " ")

const storeFailure = ({ path, reason }: SqliteStoreError): Failure => {
  const file = basename(path)
  switch (reason._tag) {
    case "Locked": {
      const owner = reason.pid === null || reason.since === null
        ? ""
        : ` (pid ${reason.pid}, since ${since(reason.since)} UTC)`
      return failure(
        "E_STATE_LOCKED",
        "start",
        `${file} in ${dirname(path)} belongs to another node${owner}. Stop it, or choose --state DIR.`
      )
    }
    case "WrongVersion":
      return failure(
        "E_STORE_VERSION",
        "start",
        `${path} has layout ${reason.found}; this release reads layout ${reason.supported}. ${
          reason.found > reason.supported ? "Update perigee" : "Open it with the release that wrote it"
        }, or choose --state DIR.`
      )
    case "NotAPerigeeStore":
    case "Corrupt":
      return failure(
        "E_STORE_CORRUPT",
        "start",
        `${path} is damaged or no store of events (${reason.detail}). Restore it from a copy, or move it away to start an empty store. It was not changed.`
      )
    case "ReadOnly":
      return failure(
        "E_STATE_READ_ONLY",
        "start",
        `${path} cannot be written. Change its owner or mode, or choose another directory with --state DIR.`
      )
    case "Full":
      return failure(
        "E_STATE_FULL",
        "start",
        `No room is left for ${path}. Make room, or choose another directory with --state DIR.`
      )
    case "NoDirectory":
    case "InvalidOptions":
    case "Io":
      return failure(
        "E_STORE",
        "start",
        `The store ${path} cannot be opened: ${describe(reason._tag === "Io" ? reason.detail : reason._tag)}.`
      )
  }
}

/** Failures of the packages below, by their tags. */
export const startFailure = (error: unknown): Failure => {
  if (error instanceof Failure) return error
  if (error instanceof SqliteStoreError) return storeFailure(error)
  if (error instanceof BusConfig.BusConfigError) {
    return failure("E_CONFIG", "usage", `An option does not fit: ${error.message}.`)
  }
  if (error instanceof ProducerIdentity.IdentityError) {
    return failure(
      "E_STATE_IDENTITY",
      "start",
      `The node's identity ${error.path} cannot be used: ${
        describe(error)
      }. Restore it, or choose another directory with --state DIR.`
    )
  }
  return failure("E_START", "start", `The node could not start: ${describe(error)}.`)
}
