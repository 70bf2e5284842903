/**
 * The transport prologue: one 8-byte payload each way that agrees on the conduit mode of a link. An exact request, no
 * preference list, no fallback.
 *
 * @since 0.1.0
 */

/**
 * What runs on the link: items as they are, or a resumable conduit.
 *
 * @since 0.1.0
 */
export type Mode = "bare" | "stable"

/**
 * Version byte of the prologue; unrelated to any package version.
 *
 * @since 0.1.0
 */
export const version = 9

/**
 * @since 0.1.0
 */
export type Prologue =
  | { readonly _tag: "Hello"; readonly mode: Mode }
  | { readonly _tag: "Accept"; readonly mode: Mode }
  | { readonly _tag: "Reject"; readonly reason: number }

/**
 * Why bytes are not a prologue message.
 *
 * @since 0.1.0
 */
export type PrologueFault = "PrologueSize" | "PrologueMagic" | "PrologueVersion" | "PrologueMode"

const magics = { H: "Hello", A: "Accept", R: "Reject" } as const
const bytesOf = (kind: keyof typeof magics, fifth: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.of(0x56, 0x4f, 0x54, kind.charCodeAt(0), version, fifth, 0, 0)

/**
 * Reason code of a rejection for a mode that the acceptor does not run.
 *
 * @since 0.1.0
 */
export const unsupportedMode = 1

/**
 * @since 0.1.0
 */
export const hello = (mode: Mode): Uint8Array<ArrayBuffer> => bytesOf("H", mode === "stable" ? 1 : 0)

/**
 * @since 0.1.0
 */
export const accept = (mode: Mode): Uint8Array<ArrayBuffer> => bytesOf("A", mode === "stable" ? 1 : 0)

/**
 * @since 0.1.0
 */
export const reject = (reason = unsupportedMode): Uint8Array<ArrayBuffer> => bytesOf("R", reason)

/**
 * Whether a payload starts like any prologue message.
 *
 * @since 0.1.0
 */
export const looksLikePrologue = (bytes: Uint8Array): boolean =>
  bytes.length === 8 && bytes[0] === 0x56 && bytes[1] === 0x4f && bytes[2] === 0x54

/**
 * Decodes a prologue message; reserved bytes are ignored.
 *
 * @since 0.1.0
 */
export const decode = (bytes: Uint8Array): Prologue | PrologueFault => {
  if (bytes.length !== 8) return "PrologueSize"
  const kind = String.fromCharCode(bytes[3]!)
  if (!looksLikePrologue(bytes) || !Object.hasOwn(magics, kind)) return "PrologueMagic"
  if (bytes[4] !== version) return "PrologueVersion"
  const _tag = magics[kind as keyof typeof magics]
  const code = bytes[5]!
  if (_tag === "Reject") return { _tag, reason: code }
  if (code > 1) return "PrologueMode"
  return { _tag, mode: code === 1 ? "stable" : "bare" }
}
