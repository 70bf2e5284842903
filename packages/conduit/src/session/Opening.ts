/**
 * Everything that happens on a link before its first frame, for either role, as a state machine without I/O: prologue,
 * session handshake, and the arrival of the conduit's hello.
 *
 * Payloads go in one at a time; each answer says what to send and whether it is over.
 *
 * @since 0.1.0
 */
import * as Hello from "../core/Hello.ts"
import * as Handshake from "./Handshake.ts"
import * as Prologue from "./Prologue.ts"

/**
 * How a link opens. `naked`: with the conduit's hellos at once. `session`: with a prologue on every link and the session
 * handshake on the first.
 *
 * @since 0.1.0
 */
export type Style = "naked" | "session"

/**
 * What to do after one payload. `send` goes out in order, also when the opening has failed.
 *
 * @since 0.1.0
 */
export type Step<A> =
  | { readonly _tag: "More"; readonly send: ReadonlyArray<Uint8Array> }
  | { readonly _tag: "Done"; readonly send: ReadonlyArray<Uint8Array>; readonly value: A }
  | {
    readonly _tag: "Failed"
    readonly send: ReadonlyArray<Uint8Array>
    readonly rejected: boolean
    readonly detail: string
  }

/**
 * Where an opening is; names the step that a timeout interrupted.
 *
 * @since 0.1.0
 */
export type Phase = "prologue" | "handshake" | "hello"

const failed = (detail: string, send: ReadonlyArray<Uint8Array> = [], rejected = false): Step<never> => ({
  _tag: "Failed",
  send,
  rejected,
  detail
})

/** Schemas make a real session hello about 7 KiB; more than this is refused before it is decoded. */
const maxHandshakeBytes = 1_048_576

/**
 * @since 0.1.0
 */
export interface InitiatorOptions {
  readonly style: Style
  /** The session's settings on its first link; absent on every later one, which skips the handshake. */
  readonly session: Handshake.SessionSettings | undefined
  readonly hello: Hello.ClientHello
}

/**
 * The initiator's side: ends with the acceptor's ServerHello.
 *
 * @since 0.1.0
 */
export class InitiatorOpening {
  phase: Phase
  /** The acceptor's session settings, once the handshake has told them. */
  peer: Handshake.SessionSettings | undefined
  private readonly options: InitiatorOptions

  constructor(options: InitiatorOptions) {
    this.options = options
    this.phase = options.style === "session" ? "prologue" : "hello"
  }

  /** What to send before anything arrives. */
  start(): ReadonlyArray<Uint8Array> {
    return this.phase === "prologue" ? [Prologue.hello("stable")] : [Hello.encodeClient(this.options.hello)]
  }

  payload(bytes: Uint8Array): Step<Hello.ServerHello> {
    switch (this.phase) {
      case "prologue": {
        const answer = Prologue.decode(bytes)
        if (typeof answer === "string") return failed(answer)
        if (answer._tag === "Reject") {
          return answer.reason === Prologue.unsupportedMode
            ? failed("unsupported mode", [], true)
            : failed(`unknown reject reason ${answer.reason}`)
        }
        if (answer._tag === "Hello" || answer.mode !== "stable") return failed("not the mode that was asked for")
        const { hello, session } = this.options
        if (session === undefined) {
          this.phase = "hello"
          return { _tag: "More", send: [Hello.encodeClient(hello)] }
        }
        this.phase = "handshake"
        return { _tag: "More", send: [Handshake.encode({ _tag: "Hello", settings: session })] }
      }
      case "handshake": {
        const answer = bytes.length > maxHandshakeBytes ? "oversize handshake" : Handshake.decode(bytes)
        if (typeof answer === "string") return failed(answer)
        if (answer._tag === "Sorry") return failed(answer.reason, [], true)
        if (answer._tag !== "HelloYourself") return failed(`${answer._tag} where HelloYourself was due`)
        this.peer = answer.settings
        this.phase = "hello"
        return {
          _tag: "More",
          send: [Handshake.encode({ _tag: "LetsGo" }), Hello.encodeClient(this.options.hello)]
        }
      }
      case "hello": {
        const hello = Hello.decodeServer(bytes)
        return typeof hello === "string" ? failed(hello) : { _tag: "Done", send: [], value: hello }
      }
    }
  }
}

/**
 * @since 0.1.0
 */
export interface AcceptorOptions {
  /** Which styles are welcome; both unless given. The first payload tells them apart. */
  readonly styles?: ReadonlyArray<Style> | undefined
  /** Settings to answer a session hello with. The parity is always the opposite of the initiator's. */
  readonly session?: Partial<Handshake.SessionSettings> | undefined
  /** Judges a session hello; a text refuses it with Sorry. */
  readonly admit?: ((settings: Handshake.SessionSettings) => string | undefined) | undefined
}

/**
 * What an acceptor knows when a ClientHello has arrived.
 *
 * @since 0.1.0
 */
export interface Opened {
  readonly hello: Hello.ClientHello
  readonly style: Style
  /** The initiator's session settings, when this link carried the handshake. */
  readonly session: Handshake.SessionSettings | undefined
}

/**
 * The acceptor's side: ends with the initiator's ClientHello. The caller answers that.
 *
 * @since 0.1.0
 */
export class AcceptorOpening {
  phase: Phase = "prologue"
  private readonly options: AcceptorOptions
  private style: Style = "naked"
  private first = true
  private agreed = false
  private session: Handshake.SessionSettings | undefined

  constructor(options: AcceptorOptions = {}) {
    this.options = options
  }

  payload(bytes: Uint8Array): Step<Opened> {
    const styles = this.options.styles ?? ["naked", "session"]
    if (this.first) {
      this.first = false
      if (styles.includes("session") && Prologue.looksLikePrologue(bytes)) return this.prologue(bytes)
      if (!styles.includes("naked")) return failed("PrologueMagic")
      this.phase = "hello"
    }
    if (this.phase === "handshake" && this.session !== undefined) {
      const answer = Handshake.decode(bytes)
      if (typeof answer === "string") return failed(answer)
      if (answer._tag === "Sorry") return failed(answer.reason, [], true)
      if (answer._tag !== "LetsGo") return failed(`${answer._tag} where LetsGo was due`)
      this.phase = "hello"
      this.agreed = true
      return { _tag: "More", send: [] }
    }
    // A session's later links skip the handshake: after the prologue comes a CBOR Hello or a ClientHello.
    if (this.phase === "handshake" && !Hello.looksLikeClientHello(bytes)) return this.handshake(bytes)
    const hello = Hello.decodeClient(bytes)
    if (typeof hello === "string") return failed(hello)
    // A session's conduit begins with the handshake, and only then.
    if (this.style === "session" && !this.agreed && hello.key === undefined) {
      return failed("a fresh hello without a session handshake")
    }
    return { _tag: "Done", send: [], value: { hello, style: this.style, session: this.session } }
  }

  private prologue(bytes: Uint8Array): Step<Opened> {
    const request = Prologue.decode(bytes)
    if (typeof request === "string") return failed(request)
    if (request._tag !== "Hello") return failed(`${request._tag} where a prologue hello was due`)
    if (request.mode !== "stable") return failed("unsupported mode", [Prologue.reject()], true)
    this.style = "session"
    this.phase = "handshake"
    return { _tag: "More", send: [Prologue.accept("stable")] }
  }

  private handshake(bytes: Uint8Array): Step<Opened> {
    const message = bytes.length > maxHandshakeBytes ? "oversize handshake" : Handshake.decode(bytes)
    if (typeof message === "string") return failed(message)
    if (message._tag === "Sorry") return failed(message.reason, [], true)
    if (message._tag !== "Hello") return failed(`${message._tag} where Hello was due`)
    const refusal = this.options.admit?.(message.settings)
    if (refusal !== undefined) return failed(refusal, [Handshake.encode({ _tag: "Sorry", reason: refusal })], true)
    this.session = message.settings
    const settings = Handshake.settings({
      ...this.options.session,
      parity: message.settings.parity === "Odd" ? "Even" : "Odd"
    })
    return { _tag: "More", send: [Handshake.encode({ _tag: "HelloYourself", settings })] }
  }
}
