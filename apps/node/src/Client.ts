/**
 * A node as the commands see it: over HTTP, like anybody else.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import { readFileSync } from "node:fs"
import { AppendSummary } from "./api/Problem.ts"
import { describe, exitCodes, Failure, failure } from "./Failure.ts"
import { findNode } from "./State.ts"

/** Which node is meant: a URL, or else the one that has announced itself in a state directory. */
export interface Target {
  readonly stateDir: string
  readonly url: string | undefined
  readonly token: Redacted.Redacted | undefined
}

export type Query = Readonly<Record<string, string | undefined>>

/** What the node answered, if it answered at all. */
export class Refusal extends Failure {
  readonly status: number
  readonly progress: AppendSummary | undefined

  constructor(problem: typeof ProblemDocument.Type, status: number) {
    super({
      code: problem.code ?? "E_HTTP",
      message: problem.detail ?? `The node answered with status ${status}.`,
      exit: status === 401 ? exitCodes.unauthorized : status >= 500 ? exitCodes.store : exitCodes.usage
    })
    this.status = status
    this.progress = problem.progress
  }
}

const ProblemDocument = Schema.Struct({
  code: Schema.optionalKey(Schema.String),
  detail: Schema.optionalKey(Schema.String),
  progress: Schema.optionalKey(AppendSummary)
})

export const unreachable = (url: string, cause: string): Failure =>
  failure(
    "E_UNREACHABLE",
    "unreachable",
    `No node answers at ${url} (${cause}). Start one with \`perigee start\`, or say where it is with --state DIR or --url URL.`
  )

/** Why a node was not reached, or the connection to it broke: the node is not there, or not any more. */
export const isUnreachable = (error: Failure): boolean => error.code === "E_UNREACHABLE"

const resolveTarget = Effect.fnUntraced(function*(target: Target) {
  if (target.url !== undefined) {
    if (!URL.canParse(target.url) || !/^https?:\/\//.test(target.url)) {
      return yield* failure("E_URL", "usage", `${target.url} is no URL of a node. It looks like http://127.0.0.1:7700.`)
    }
    const known = target.token === undefined ? yield* findNode(target.stateDir) : undefined
    const token = target.token ?? known?.token
    if (token === undefined) {
      return yield* failure(
        "E_TOKEN",
        "unauthorized",
        "No token is known for that URL. Put it into PERIGEE_TOKEN, or give --state DIR of the node."
      )
    }
    return { url: target.url.replace(/\/+$/, ""), token, certificate: known?.node.certificate ?? null }
  }
  const found = yield* findNode(target.stateDir)
  if (found === undefined) {
    return yield* failure(
      "E_NOT_RUNNING",
      "unreachable",
      `No node runs on the state directory ${target.stateDir}. Start one with \`perigee start\`, or say where it is with --state DIR or --url URL.`
    )
  }
  return { url: found.node.url, token: target.token ?? found.token, certificate: found.node.certificate }
})

const transport = (url: string) => (error: HttpClientError.HttpClientError): Failure => {
  const cause = error.cause
  const code = typeof cause === "object" && cause !== null && "code" in cause
    ? String(cause.code)
    : describe(cause ?? error)
  return unreachable(url, code)
}

const refused = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<never, Refusal> =>
  response.text.pipe(
    Effect.orElseSucceed(() => ""),
    Effect.flatMap((text) =>
      Effect.orElseSucceed(Schema.decodeEffect(Schema.fromJsonString(ProblemDocument))(text), () => ({}))
    ),
    Effect.flatMap((problem) => Effect.fail(new Refusal(problem, response.status)))
  )

/** Calls one node. */
export class Client extends Context.Service<Client, {
  readonly url: string
  readonly get: (
    path: string,
    options?: { readonly query?: Query; readonly headers?: Record<string, string> }
  ) => Effect.Effect<HttpClientResponse.HttpClientResponse, Failure>
  readonly getText: (path: string, query?: Query) => Effect.Effect<string, Failure>
  /** Appends lines; the answer comes once they are stored. */
  readonly append: (lines: Uint8Array, query: Query) => Effect.Effect<AppendSummary, Failure>
  /** Number of the last event of a named producer that the node has stored without a gap. */
  readonly lastSequence: (producer: string) => Effect.Effect<number, Failure>
}>()("perigee/Client") {
  static readonly layer = (target: Target): Layer.Layer<Client, Failure> =>
    Layer.unwrap(
      Effect.map(resolveTarget(target), ({ certificate, token, url }) =>
        Layer.effect(Client, make(url, token)).pipe(
          Layer.provide(NodeHttpClient.layerNodeHttpOptions({
            keepAlive: true,
            ...(certificate === null ? {} : { ca: [readFileSync(certificate)] })
          }))
        ))
    )
}

const make = Effect.fnUntraced(function*(url: string, token: Redacted.Redacted) {
  const http = yield* HttpClient.HttpClient
  const send = (request: HttpClientRequest.HttpClientRequest) =>
    http.execute(HttpClientRequest.bearerToken(request, token)).pipe(
      Effect.mapError(transport(url)),
      Effect.filterOrElse((response) => response.status < 300, refused)
    )
  const get: Client["Service"]["get"] = (path, options = {}) =>
    send(HttpClientRequest.get(url + path, { urlParams: options.query ?? {}, headers: options.headers ?? {} }))
  const decoded = <S extends Schema.Codec<unknown, unknown>>(schema: S) => {
    const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(schema))
    return (response: HttpClientResponse.HttpClientResponse): Effect.Effect<S["Type"], Failure> =>
      response.text.pipe(
        Effect.mapError(transport(url)),
        Effect.flatMap((text) =>
          Effect.mapError(decode(text), () =>
            failure("E_ANSWER", "unexpected", `What answers at ${url} does not answer like a node.`))
        )
      )
  }
  const producer = decoded(Schema.Struct({ last_sequence: Schema.Int }))
  const summary = decoded(AppendSummary)
  return Client.of({
    url,
    get,
    getText: (path, query) =>
      Effect.flatMap(
        get(path, query === undefined ? {} : { query }),
        (response) => Effect.mapError(response.text, transport(url))
      ),
    append: (lines, query) =>
      Effect.flatMap(
        send(
          HttpClientRequest.post(`${url}/v1/events`, { urlParams: query }).pipe(
            HttpClientRequest.bodyUint8Array(lines, "application/x-ndjson")
          )
        ),
        summary
      ),
    lastSequence: (name) =>
      Effect.map(
        Effect.flatMap(get(`/v1/producers/${encodeURIComponent(name)}`), producer),
        (answer) => answer.last_sequence
      )
  })
})
