/**
 * A small file in the state directory that a bridge keeps its place in.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as Fs from "node:fs/promises"
import { join } from "node:path"
import { describe } from "../Failure.ts"
import { replaceFile } from "../internal/replaceFile.ts"
import { Trouble } from "./Trouble.ts"

type Plain = Schema.Codec<unknown, unknown, never, never>

export interface Keep {
  readonly path: string
  /** What was saved last, undefined when nothing was. Fails when the file is damaged or cannot be read. */
  readonly load: <S extends Plain>(schema: S) => Effect.Effect<S["Type"] | undefined, Trouble>
  /** Ends when it is on the disk. */
  readonly save: <S extends Plain>(schema: S, value: S["Type"]) => Effect.Effect<void, Trouble>
}

/** `identity` tells one bridge from all others: the file is named after it. */
export const keep = (stateDir: string, identity: ReadonlyArray<string>): Keep => {
  const dir = join(stateDir, "bridges")
  const name = createHash("sha256").update(JSON.stringify(identity)).digest("hex").slice(0, 24)
  const path = join(dir, `${name}.json`)
  const failed = (verb: string) => (cause: unknown) =>
    new Trouble({ message: `${path} cannot be ${verb}: ${describe(cause)}` })
  return {
    path,
    load: (schema) =>
      Effect.tryPromise({
        try: async () => {
          try {
            return await Fs.readFile(path, "utf8")
          } catch (cause) {
            if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined
            throw cause
          }
        },
        catch: failed("read")
      }).pipe(Effect.flatMap((text) => {
        if (text === undefined) return Effect.succeed(undefined)
        const read = Schema.decodeResult(Schema.fromJsonString(schema))(text)
        return Result.isSuccess(read)
          ? Effect.succeed(read.success)
          : Effect.fail(
            new Trouble({
              message: `${path} is damaged: restore it, or move it away and give the bridge another ?name=`
            })
          )
      })),
    save: (schema, value) =>
      Effect.tryPromise({
        try: async () => {
          await Fs.mkdir(dir, { recursive: true, mode: 0o700 })
          await replaceFile(path, JSON.stringify(Schema.encodeSync(schema)(value)))
        },
        catch: failed("written")
      }).pipe(Effect.uninterruptible)
  }
}
