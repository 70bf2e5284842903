/** A refusal as the wire knows it: one of the broker's error codes and a text. */
import { type Api } from "@perigee/proto/wire"

export type ErrorCode = keyof typeof Api.ServerError & string

export interface Failure {
  readonly _tag: "Failure"
  readonly code: ErrorCode
  readonly message: string
}

export const fail = (code: ErrorCode, message: string): Failure => ({ _tag: "Failure", code, message })

export const isFailure = (value: unknown): value is Failure =>
  typeof value === "object" && value !== null && "_tag" in value && value._tag === "Failure"
