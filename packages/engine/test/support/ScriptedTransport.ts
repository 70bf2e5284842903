/** Dials into the testing broker over a socket that can be made to stand still or to write slowly. */
import { Clock, Context, Effect, Layer } from "effect"
import { Socket } from "effect/socket"
import { type Api, Commands, Frame } from "@perigee/proto/wire"
import { Transport } from "../../src/index.ts"
import { TestBroker } from "../../src/testing/index.ts"

const commands = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<Api.BaseCommand> => {
  const decoder = new Frame.FrameDecoder()
  decoder.push(Uint8Array.from(Buffer.concat(chunks)))
  const found: Array<Api.BaseCommand> = []
  while (decoder.next()) found.push(Commands.decode(decoder.buffer.slice(decoder.commandStart, decoder.commandEnd)))
  return found
}

export class ScriptedTransport extends Context.Service<ScriptedTransport, {
  /** Writes never end. */
  stuck: boolean
  /** Milliseconds that each write takes. */
  slow: number
  dials: number
  /** When was dialed, milliseconds. */
  readonly times: Array<number>
  /** Bytes of each write. */
  readonly writes: Array<number>
  /** What is read next, once, in place of what the broker says. */
  inject: Uint8Array | undefined
  /** Commands that were written, by address. */
  readonly said: Array<{ readonly address: string; readonly command: Api.BaseCommand }>
}>()("@perigee/engine/test/ScriptedTransport") {
  static readonly layer = Layer.effectContext(Effect.gen(function*() {
    const broker = yield* TestBroker
    const script: ScriptedTransport["Service"] = {
      stuck: false,
      slow: 0,
      dials: 0,
      times: [],
      writes: [],
      inject: undefined,
      said: []
    }
    const wrap = (socket: Socket.Socket, address: string) =>
      Socket.make({
        reader: Effect.suspend(() => {
          script.dials++
          return Effect.flatMap(Clock.currentTimeMillis, (at) => {
            script.times.push(at)
            return Effect.map(socket.reader, (reader) => ({
              ...reader,
              pull: Effect.map(reader.pull, (chunks) => {
                const { inject } = script
                script.inject = undefined
                return inject === undefined ? chunks : [inject] as const
              })
            }))
          })
        }),
        writer: Effect.map(socket.writer, (writer): Socket.Writer => ({
          write: (chunk) => writer.write(chunk),
          writeAll: (chunks) =>
            Effect.suspend(() => {
              if (script.stuck) return Effect.never
              script.said.push(
                ...commands(chunks as ReadonlyArray<Uint8Array>).map((command) => ({ address, command }))
              )
              script.writes.push(chunks.reduce((sum, chunk) => sum + (chunk as Uint8Array).length, 0))
              return Effect.andThen(script.slow > 0 ? Effect.sleep(script.slow) : Effect.void, writer.writeAll(chunks))
            })
        }))
      })
    return Context.make(ScriptedTransport, script).pipe(
      Context.add(Transport, {
        socket: ({ address }) =>
          Effect.sync(() => wrap(broker.dial(`${address.host}:${address.port}`), `${address.host}:${address.port}`))
      })
    )
  }))
}
