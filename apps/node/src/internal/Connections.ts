import type { Server, ServerResponse } from "node:http"
import type { Socket } from "node:net"

/**
 * The connections of a server that carry no request at the moment. Node itself ends those that have carried one when it closes a server; it
 * would wait for the others, which browsers and pools open ahead of need.
 */
export class Connections {
  readonly #idle = new Set<Socket>()
  #closing = false

  constructor(server: Server, event: "connection" | "secureConnection") {
    server.on(event, (socket: Socket) => {
      if (this.#closing) {
        socket.destroy()
        return
      }
      this.#idle.add(socket)
      socket.once("close", () => this.#idle.delete(socket))
    })
    server.on("request", ({ socket }, response: ServerResponse) => {
      this.#idle.delete(socket)
      response.once("close", () => {
        if (socket.destroyed) return
        if (this.#closing) socket.end()
        else this.#idle.add(socket)
      })
    })
  }

  /** Ends what carries no request, now and from now on. */
  close(): void {
    this.#closing = true
    for (const socket of this.#idle) socket.destroy()
    this.#idle.clear()
  }
}
