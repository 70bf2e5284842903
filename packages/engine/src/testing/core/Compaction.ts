/**
 * Compaction: of all messages with a key only the newest, message by message, batches included.
 */
import { Batch, Compression, Frame, Metadata, ProtoWriter } from "@perigee/proto/wire"
import type { Entry, Log } from "./Log.ts"

const nothing = new Uint8Array(0)
/** Nothing that a producer could send here inflates to more. */
const CEILING = 256 * 1024 * 1024

interface Member {
  readonly single: Metadata.SingleMetadata
  readonly payload: Uint8Array
}

const payloadOf = ({ section }: Entry): Uint8Array => {
  const { metadataEnd, payloadEnd } = Frame.readPayload(section, 0, section.length)
  return section.subarray(metadataEnd, payloadEnd)
}

const membersOf = (entry: Entry): ReadonlyArray<Member> => {
  const { compression, uncompressedSize } = entry.metadata
  const bytes = Compression.decompress(compression, payloadOf(entry), uncompressedSize, CEILING)
  const cursor = new Batch.BatchCursor(bytes, entry.metadata.batchSize!)
  const members: Array<Member> = []
  for (let member = cursor.next(); member !== undefined; member = cursor.next()) {
    members.push({ single: member.single, payload: bytes.slice(member.start, member.end) })
  }
  return members
}

/** A batch in which all but some messages are marked as compacted away, their payloads dropped; positions stay. */
const rebatched = (entry: Entry, members: ReadonlyArray<Member>, kept: (index: number) => boolean): Entry => {
  const builder = new Batch.BatchBuilder()
  for (const [index, { payload, single }] of members.entries()) {
    const rest = kept(index) ? payload : nothing
    builder.add({ ...single, payloadSize: rest.length, compactedOut: !kept(index) }, rest)
  }
  const { end, memory, start } = builder.take()
  const writer = new ProtoWriter(512)
  Metadata.write(writer, { ...entry.metadata, compression: 0, uncompressedSize: 0 })
  const frame = Frame.encodePayload(nothing, writer.copy(), memory.slice(start, end), 0, end - start)
  const bytes = Buffer.concat(frame)
  // Behind the sizes of the frame and of its command, which is empty.
  return { ...entry, section: Uint8Array.from(bytes.subarray(8)) }
}

/** What the log shows after a compaction: entries by index, those that are gone left out. */
export const compact = (log: Log): ReadonlyMap<number, Entry> => {
  /** Where the newest message of a key is: entry, and place within it. */
  const newest = new Map<string, readonly [index: number, member: number]>()
  const batches = new Map<number, ReadonlyArray<Member>>()
  const note = (key: string | undefined, size: number, index: number, member: number): void => {
    if (key === undefined) return
    if (size > 0) newest.set(key, [index, member])
    else newest.delete(key)
  }
  for (const entry of log.from(log.start)) {
    if (entry.metadata.batchSize === undefined) {
      note(entry.metadata.partitionKey, payloadOf(entry).length, entry.index, 0)
      continue
    }
    const members = membersOf(entry)
    batches.set(entry.index, members)
    for (const [at, { payload, single }] of members.entries()) {
      note(single.partitionKey, payload.length, entry.index, at)
    }
  }
  const places = new Map<number, Set<number>>()
  for (const [index, member] of newest.values()) {
    const known = places.get(index)
    if (known === undefined) places.set(index, new Set([member]))
    else known.add(member)
  }
  const shown = new Map<number, Entry>()
  for (const [index, kept] of places) {
    const entry = log.get(index)!
    const members = batches.get(index)
    shown.set(index, members === undefined ? entry : rebatched(entry, members, (at) => kept.has(at)))
  }
  return shown
}
