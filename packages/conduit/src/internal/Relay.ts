import type { Link, LinkSink } from "../Link.ts"
import type { LinkError } from "../LinkError.ts"

/**
 * A sink whose target can be replaced between two payloads of one read: first the opening, then the conduit. Afterwards
 * it steps aside, so that a frame does not pay for it.
 */
export class Relay implements LinkSink {
  target: LinkSink

  constructor(target: LinkSink) {
    this.target = target
  }

  /** Hands the link over to its final sink. */
  become(sink: LinkSink, link: Link): void {
    this.target = sink
    link.open(sink)
  }

  payload(bytes: Uint8Array, offset: number, length: number, owned: boolean): boolean | void {
    return this.target.payload(bytes, offset, length, owned)
  }

  flush(): void {
    this.target.flush()
  }

  writable(): void {
    this.target.writable()
  }

  closed(error: LinkError): void {
    this.target.closed(error)
  }
}
