/**
 * What every request passes before it reaches a route, and every answer on its way back.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Types from "effect/Types"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { isIP } from "node:net"
import { NodeConfig } from "../Config.ts"
import * as Problem from "./Problem.ts"

/** The host name of a `Host` header or of an origin, without its port; undefined when it is not one. */
const hostname = (authority: string): string | undefined => {
  try {
    return new URL(`http://${authority}`).hostname.toLowerCase()
  } catch {
    return undefined
  }
}

/**
 * Whether a client may call the node by this name. A page on another site that has its own name point at this machine (DNS rebinding) calls
 * the node by that name; addresses and `localhost` cannot be rebound.
 */
const isOwnName = (name: string, allowed: ReadonlyArray<string>): boolean =>
  name === "localhost" || isIP(name.replace(/^\[|\]$/g, "")) !== 0 || allowed.includes(name)

const refuse = (
  request: HttpServerRequest.HttpServerRequest,
  allowed: ReadonlyArray<string>
): Problem.Misdirected | Problem.Forbidden | undefined => {
  const host = request.headers.host
  const name = host === undefined ? undefined : hostname(host)
  if (name === undefined || !isOwnName(name, allowed)) {
    return new Problem.Misdirected({
      code: "E_HOST",
      detail: "This node does not answer to that host name. Use its address, or start it with --allow-host NAME."
    })
  }
  const origin = request.headers.origin
  if (origin === undefined) return undefined
  const own = origin === `http://${host}` || origin === `https://${host}`
  return own ? undefined : new Problem.Forbidden({
    code: "E_ORIGIN",
    detail: "Pages of other sites may not call this node."
  })
}

const headers = { "cache-control": "no-store", "x-content-type-options": "nosniff" }

const respond = (problem: HttpServerRespondable.Respondable) => Effect.orDie(HttpServerRespondable.toResponse(problem))

/** Turns what no route has answered for into a problem, and logs what nobody foresaw. */
const failure = (request: HttpServerRequest.HttpServerRequest) =>
(
  cause: Cause.Cause<unknown>
): Effect.Effect<HttpServerResponse.HttpServerResponse, Types.unhandled> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>)
  const error = Cause.squash(cause)
  if (HttpServerError.isHttpServerError(error) && error.reason._tag === "RouteNotFound") {
    return respond(
      new Problem.NotFound({
        code: "E_ROUTE",
        detail: `There is no ${request.method.slice(0, 16)} here. /openapi.json lists the routes.`
      })
    )
  }
  if (HttpServerRespondable.isRespondable(error)) return respond(error)
  return Effect.andThen(
    Effect.logError("A request failed unexpectedly", cause),
    respond(new Problem.Internal({ code: "E_INTERNAL", detail: "The node failed to answer; its log says why." }))
  )
}

/** Refuses foreign hosts and origins, names every failure, and closes every answer to caches and to guessing of its type. */
export const layer = Layer.unwrap(Effect.map(NodeConfig, ({ allowedHosts }) => {
  const allowed = allowedHosts.map((name) => name.toLowerCase())
  return HttpRouter.middleware(
    (app) =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
        const refused = refuse(request, allowed)
        const answer = refused === undefined ? Effect.catchCause(app, failure(request)) : respond(refused)
        return Effect.map(answer, HttpServerResponse.setHeaders(headers))
      }),
    { global: true }
  )
}))
