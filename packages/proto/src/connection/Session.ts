/** What the parts of a connection share. */
import type { Outbox } from "../internal/Outbox.ts"
import type { CommandInit } from "../wire/Commands.ts"
import * as Commands from "../wire/Commands.ts"
import type { Events } from "./Events.ts"
import type { PendingRequest, RequestKind, RequestOutcome, Requests } from "./Requests.ts"

export type OnOutcome = (outcome: RequestOutcome) => void

export class Session {
  readonly events: Events
  readonly requests: Requests
  readonly outbox: Outbox
  /** Milliseconds a request may take. */
  readonly operationTimeout: number
  /** CONNECTED was seen on this session. */
  isConnected = false
  maxMessageSize: number

  constructor(events: Events, requests: Requests, outbox: Outbox, operationTimeout: number, maxMessageSize: number) {
    this.events = events
    this.requests = requests
    this.outbox = outbox
    this.operationTimeout = operationTimeout
    this.maxMessageSize = maxMessageSize
  }

  readonly push = (frame: Uint8Array): void => this.outbox.push(frame)

  send(command: CommandInit): void {
    this.outbox.push(Commands.encode(command))
  }

  /** Makes a request: `command` gets its id. Without a session it ends as lost at once. */
  request(
    now: number,
    kind: RequestKind,
    command: (requestId: bigint) => CommandInit,
    onDone?: OnOutcome,
    timeout = this.operationTimeout
  ): PendingRequest {
    const request = this.requests.add(kind, now, timeout, onDone)
    if (!this.isConnected) this.requests.settle(request.id, { _tag: "SessionLost" })
    else if (request.outcome === undefined) this.send(command(BigInt(request.id)))
    return request
  }
}
