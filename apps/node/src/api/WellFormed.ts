/**
 * Parameters that do not fit the contract.
 */
import * as Effect from "effect/Effect"
import * as SchemaIssue from "effect/SchemaIssue"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import { WellFormed } from "./Api.ts"
import * as Problem from "./Problem.ts"

const format = SchemaIssue.makeFormatterStandardSchemaV1()

export const layer = HttpApiMiddleware.layerSchemaErrorTransform(WellFormed, (error) => {
  if (error.kind === "Body" || error.kind === "ResponseHeaders") return Effect.fail(error)
  const issues = format(error.cause.issue).issues.slice(0, 5).map((issue) =>
    `${
      (issue.path ?? []).map((segment) => String(typeof segment === "object" ? segment.key : segment)).join(".") ||
      error.kind.toLowerCase()
    }: ${issue.message.slice(0, 200)}`
  )
  return Effect.fail(
    new Problem.BadRequest({ code: "E_REQUEST", detail: `A parameter does not fit. ${issues.join("; ")}.` })
  )
})
