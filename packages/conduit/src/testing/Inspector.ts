/**
 * What goes over a link, as text for people. Keys never show.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Control from "../core/Control.ts"
import * as Frame from "../core/Frame.ts"
import * as Hello from "../core/Hello.ts"
import * as StreamDecoder from "../core/StreamDecoder.ts"
import type { Link } from "../Link.ts"
import type { LinkSource } from "../LinkSource.ts"
import * as Handshake from "../session/Handshake.ts"
import * as Prologue from "../session/Prologue.ts"

/** Item bytes that are shown. */
const shown = 16

const last = (n: number | undefined): string => n === undefined ? "nothing received" : `received ${n}`

/**
 * Says what one payload is. A payload that could be two things is called what comes first on a link.
 *
 * @since 0.1.0
 */
export const describe = (payload: Uint8Array): string => {
  const client = Hello.decodeClient(payload)
  if (typeof client !== "string") {
    return `ClientHello ${client.key === undefined ? "fresh" : "key ****"}, ${last(client.lastReceived)}${
      client.extensions ? ", extensions" : ""
    }`
  }
  const server = Hello.decodeServer(payload)
  if (typeof server !== "string") {
    return server.rejected
      ? "ServerHello rejected"
      : `ServerHello key ****, ${last(server.lastReceived)}${server.extensions ? ", extensions" : ""}`
  }
  const prologue = Prologue.decode(payload)
  if (typeof prologue !== "string") {
    return `Transport${prologue._tag} ${prologue._tag === "Reject" ? `reason ${prologue.reason}` : prologue.mode}`
  }
  if ((payload[0] ?? 0) === 0xa1) {
    const message = Handshake.decode(payload)
    if (typeof message !== "string") {
      if (message._tag === "Sorry") return `Sorry: ${message.reason}`
      if (message._tag === "LetsGo") return "LetsGo"
      const { maxConcurrentRequests, parity, resumeKey } = message.settings
      return `${message._tag} ${parity}, ${maxConcurrentRequests} requests${
        resumeKey === undefined ? "" : ", key ****"
      }`
    }
  }
  if (payload.length === Control.controlBytes) {
    const control = Control.decode(payload)
    if (control !== "UnknownControl") return `control ${control.kind} ${control.value}`
  }
  const frame = Frame.decode(payload)
  if (typeof frame === "string") return `malformed (${frame}), ${payload.length} bytes`
  const hex = Array.from(frame.item.subarray(0, shown), (byte) => byte.toString(16).padStart(2, "0")).join("")
  return `frame ${frame.seq}${frame.ack === undefined ? "" : ` ack ${frame.ack}`}, ${frame.item.length} bytes ${hex}${
    frame.item.length > shown ? "…" : ""
  }`
}

/**
 * Watches every link of a source; `log` gets a line a payload.
 *
 * @category combinators
 * @since 0.1.0
 */
export const watch = (source: LinkSource, log: (line: string) => void): LinkSource => {
  let links = 0
  return {
    description: source.description,
    next: Effect.map(source.next, (attachment) => ({
      ...attachment,
      link: watchLink(attachment.link, `link ${++links}`, log)
    }))
  }
}

/**
 * Watches one link.
 *
 * @category combinators
 * @since 0.1.0
 */
export const watchLink = (link: Link, name: string, log: (line: string) => void): Link => ({
  description: link.description,
  maxPayload: link.maxPayload,
  copies: link.copies,
  canPause: link.canPause,
  open: (sink) =>
    link.open({
      payload: (bytes, offset, length, owned) => {
        log(`${name} < ${describe(bytes.subarray(offset, offset + length))}`)
        return sink.payload(bytes, offset, length, owned)
      },
      flush: () => sink.flush(),
      writable: () => sink.writable(),
      closed: (error) => {
        log(`${name} closed: ${error.reason._tag}`)
        sink.closed(error)
      }
    }),
  write: (bytes, start, end) => {
    for (const payload of StreamDecoder.payloads(bytes, start, end)) log(`${name} > ${describe(payload)}`)
    return link.write(bytes, start, end)
  },
  pause: () => link.pause(),
  resume: () => link.resume(),
  end: () => {
    log(`${name} ended`)
    link.end()
  },
  destroy: () => link.destroy()
})
