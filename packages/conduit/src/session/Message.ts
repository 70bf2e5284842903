/**
 * The messages of a vox session, as postcard lays them out. A conduit does not need them; a keepalive, a proxy that looks
 * inside, and a program that talks to a session of the Rust crate do.
 *
 * @since 0.1.0
 */
import * as Postcard from "./Postcard.ts"

/** Metadata: key, a text, bytes or a number, and flags (1 sensitive, 2 do not propagate). */
export const metadata = Postcard.list(Postcard.struct({
  key: Postcard.string,
  value: Postcard.variants({ String: Postcard.string, Bytes: Postcard.bytes, U64: Postcard.u64 }),
  flags: Postcard.u64
}))

const parity = Postcard.variants({ Odd: Postcard.unit, Even: Postcard.unit })
const settings = { parity, maxConcurrentRequests: Postcard.u32 }
/** Schemas ride in messages of their own; the inline field is always empty. */
const schemas = Postcard.bytes

/**
 * One message: the connection it belongs to, and what it says. Connection 0 is the session's own.
 *
 * @category layouts
 * @since 0.1.0
 */
export const message = Postcard.struct({
  connection: Postcard.u64,
  payload: Postcard.variants({
    ProtocolError: Postcard.struct({ description: Postcard.string }),
    ConnectionOpen: Postcard.struct({ ...settings, metadata }),
    ConnectionAccept: Postcard.struct({ ...settings, metadata }),
    ConnectionReject: Postcard.struct({ metadata }),
    ConnectionClose: Postcard.struct({ metadata }),
    Request: Postcard.struct({
      id: Postcard.u64,
      body: Postcard.variants({
        Call: Postcard.struct({ method: Postcard.u64, metadata, args: Postcard.opaque, schemas }),
        Response: Postcard.struct({ metadata, result: Postcard.opaque, schemas }),
        Cancel: Postcard.struct({ metadata })
      })
    }),
    Schema: Postcard.struct({
      method: Postcard.u64,
      direction: Postcard.variants({ Args: Postcard.unit, Response: Postcard.unit }),
      schemas: Postcard.bytes
    }),
    Channel: Postcard.struct({
      id: Postcard.u64,
      body: Postcard.variants({
        Item: Postcard.struct({ item: Postcard.opaque }),
        Close: Postcard.struct({ metadata }),
        Reset: Postcard.struct({ metadata }),
        GrantCredit: Postcard.struct({ credit: Postcard.u32 })
      })
    }),
    Ping: Postcard.struct({ nonce: Postcard.u64 }),
    Pong: Postcard.struct({ nonce: Postcard.u64 })
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Message = Postcard.Type<typeof message>

/**
 * The codec of a whole item that is a message.
 *
 * @category codecs
 * @since 0.1.0
 */
export const codec = Postcard.codec(message)
