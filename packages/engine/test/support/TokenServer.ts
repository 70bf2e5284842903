/** An OAuth2 server's two answers: where tokens are given, and a token. */
import { Effect } from "effect"
import { EventEmitter } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

export interface TokenServer {
  readonly url: string
  readonly endpoint: string
  discoveries: number
  /** The forms that were posted. */
  readonly grants: Array<Readonly<Record<string, string>>>
  /** Waits until so many were posted. */
  readonly granted: (count: number) => Effect.Effect<void>
  /** What to say instead of a token. */
  answer: { readonly status: number; readonly body: string } | "silence" | undefined
}

/** Tokens are `token-1`, `token-2` … unless `issue` makes them. */
export const tokenServer = (
  options: { readonly expiresIn?: number; readonly issue?: ((number: number) => string) | undefined } = {}
) =>
  Effect.acquireRelease(
    Effect.callback<TokenServer & { readonly stop: () => void }>((resume) => {
      const posted = new EventEmitter()
      const http = createServer((request, response) => {
        const chunks: Array<Buffer> = []
        request.on("data", (chunk: Buffer) => chunks.push(chunk))
        request.on("end", () => {
          if (request.url === "/.well-known/openid-configuration") {
            server.discoveries++
            response.end(JSON.stringify({ issuer: server.url, token_endpoint: server.endpoint }))
            return
          }
          const { answer } = server
          if (answer === "silence") return
          if (answer !== undefined) {
            response.writeHead(answer.status).end(answer.body)
            return
          }
          server.grants.push(Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString())))
          const number = server.grants.length
          posted.emit("grant")
          response.end(JSON.stringify({
            access_token: options.issue?.(number) ?? `token-${number}`,
            token_type: "Bearer",
            ...(options.expiresIn === undefined ? {} : { expires_in: options.expiresIn })
          }))
        })
      })
      const server = {
        url: "",
        endpoint: "",
        discoveries: 0,
        grants: [],
        granted: (count: number) =>
          Effect.callback<void>((resume) => {
            const look = () => {
              if (server.grants.length < count) return
              posted.off("grant", look)
              resume(Effect.void)
            }
            posted.on("grant", look)
            look()
            return Effect.sync(() => void posted.off("grant", look))
          }),
        answer: undefined,
        stop: () => {
          http.closeAllConnections()
          http.close()
        }
      } as TokenServer & { url: string; endpoint: string; readonly stop: () => void }
      http.listen(0, "127.0.0.1", () => {
        server.url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
        server.endpoint = `${server.url}/token`
        resume(Effect.succeed(server))
      })
    }),
    (server) => Effect.sync(() => server.stop())
  )
