/**
 * The sequence numbers that a producer may have used: `{"version":1,"nonce":"…","next":{"0":1000000}}`, for each shard the first that
 * it has certainly not.
 */
import { read, replace, tidy } from "./AtomicFile.ts"

/** Enough for 65,535 shards. */
const maxBytes = 4_194_304

/** A file that does not hold marks. */
export class InvalidMarks extends Error {}

export interface Marks {
  readonly nonce: bigint
  readonly next: ReadonlyMap<number, number>
}

const isShard = (key: string): boolean => /^(0|[1-9][0-9]{0,4})$/.test(key) && Number(key) < 65_535

const decode = (bytes: Uint8Array): Marks => {
  if (bytes.length > maxBytes) throw new InvalidMarks(`a marks file of more than ${maxBytes} bytes`)
  let value: { readonly version?: unknown; readonly nonce?: unknown; readonly next?: unknown } | null
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as typeof value
  } catch {
    throw new InvalidMarks("a marks file that is not JSON")
  }
  if (value?.version !== 1) {
    throw new InvalidMarks(`a marks file of version ${JSON.stringify(value?.version)}, expected 1`)
  }
  const { next, nonce } = value
  if (typeof nonce !== "string" || !/^[0-9a-f]{1,16}$/.test(nonce)) {
    throw new InvalidMarks("a marks file without a nonce")
  }
  if (typeof next !== "object" || next === null) throw new InvalidMarks("a marks file without marks")
  const marks = new Map<number, number>()
  for (const [shard, sequence] of Object.entries(next)) {
    if (!isShard(shard) || !Number.isSafeInteger(sequence) || (sequence as number) < 0) {
      throw new InvalidMarks(`a marks file with an unusable mark for shard ${JSON.stringify(shard.slice(0, 20))}`)
    }
    marks.set(Number(shard), sequence as number)
  }
  return { nonce: BigInt(`0x${nonce}`), next: marks }
}

/** The marks in the file, or undefined when there is no file. Only under the lock of the identity. */
export const readMarks = async (path: string): Promise<Marks | undefined> => {
  await tidy(path)
  const bytes = await read(path, maxBytes)
  return bytes === undefined ? undefined : decode(bytes)
}

/** Replaces the marks, durably. */
export const writeMarks = (path: string, { next, nonce }: Marks): Promise<void> =>
  replace(path, JSON.stringify({ version: 1, nonce: nonce.toString(16), next: Object.fromEntries(next) }))
