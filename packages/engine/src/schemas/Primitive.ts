/**
 * Bytes, text, numbers and times, as the Java client writes them.
 *
 * @since 0.1.0
 */
import { fromUtf8, type PulsarSchema, sync, toUtf8 } from "./Definition.ts"

const nothing = new Uint8Array(0)

/** Payloads as they are. The bytes of a received message are a view of what was read. @category schemas @since 0.1.0 */
export const bytes: PulsarSchema<Uint8Array> = sync(undefined, (value) => value, (payload) => payload)

/** UTF-8 text. @category schemas @since 0.1.0 */
export const string: PulsarSchema<string> = sync(
  { name: "String", type: 1, data: nothing },
  toUtf8,
  fromUtf8
)

const sized = <A>(
  name: string,
  type: number,
  size: number,
  set: (view: DataView, value: A) => void,
  get: (view: DataView) => A
): PulsarSchema<A> =>
  sync(
    { name, type, data: nothing },
    (value) => {
      const payload = new Uint8Array(size)
      set(new DataView(payload.buffer), value)
      return payload
    },
    (payload) => {
      if (payload.length !== size) throw new RangeError(`${name} has ${size} bytes, not ${payload.length}`)
      return get(new DataView(payload.buffer, payload.byteOffset, size))
    }
  )

const whole = (name: string, bits: number) => (value: number): number => {
  if (!Number.isInteger(value) || value < -(2 ** (bits - 1)) || value >= 2 ** (bits - 1)) {
    throw new RangeError(`${value} is no ${name}`)
  }
  return value
}
const nanosOf = (value: number): number => {
  if (!Number.isInteger(value) || value < 0 || value > 999_999_999) throw new RangeError(`${value} are no nanoseconds`)
  return value
}
const int8Of = whole("INT8", 8)
const int16Of = whole("INT16", 16)
const int32Of = whole("INT32", 32)

/** One byte, 0 or 1. @category schemas @since 0.1.0 */
export const boolean: PulsarSchema<boolean> = sized(
  "Boolean",
  5,
  1,
  (view, value) => view.setUint8(0, value ? 1 : 0),
  (view) => view.getUint8(0) !== 0
)
/** Big-endian, signed. @category schemas @since 0.1.0 */
export const int8: PulsarSchema<number> = sized(
  "INT8",
  6,
  1,
  (view, value) => view.setInt8(0, int8Of(value)),
  (view) => view.getInt8(0)
)
/** Big-endian, signed. @category schemas @since 0.1.0 */
export const int16: PulsarSchema<number> = sized(
  "INT16",
  7,
  2,
  (view, value) => view.setInt16(0, int16Of(value)),
  (view) => view.getInt16(0)
)
/** Big-endian, signed. @category schemas @since 0.1.0 */
export const int32: PulsarSchema<number> = sized(
  "INT32",
  8,
  4,
  (view, value) => view.setInt32(0, int32Of(value)),
  (view) => view.getInt32(0)
)
/** Big-endian, signed. @category schemas @since 0.1.0 */
export const int64: PulsarSchema<bigint> = sized(
  "INT64",
  9,
  8,
  (view, value) => view.setBigInt64(0, value),
  (view) => view.getBigInt64(0)
)
/** IEEE 754, 32 bits. @category schemas @since 0.1.0 */
export const float: PulsarSchema<number> = sized(
  "Float",
  10,
  4,
  (view, value) => view.setFloat32(0, value),
  (view) => view.getFloat32(0)
)
/** IEEE 754, 64 bits. @category schemas @since 0.1.0 */
export const double: PulsarSchema<number> = sized(
  "Double",
  11,
  8,
  (view, value) => view.setFloat64(0, value),
  (view) => view.getFloat64(0)
)
/** A moment, in milliseconds. @category schemas @since 0.1.0 */
export const timestamp: PulsarSchema<Date> = sized(
  "Timestamp",
  14,
  8,
  (view, value) => view.setBigInt64(0, BigInt(value.getTime())),
  (view) => new Date(Number(view.getBigInt64(0)))
)
/** A day and a time, in milliseconds since the epoch: `java.util.Date`. @category schemas @since 0.1.0 */
export const date: PulsarSchema<Date> = sized(
  "Date",
  12,
  8,
  (view, value) => view.setBigInt64(0, BigInt(value.getTime())),
  (view) => new Date(Number(view.getBigInt64(0)))
)
/** Milliseconds: `java.sql.Time`. @category schemas @since 0.1.0 */
export const time: PulsarSchema<number> = sized(
  "Time",
  13,
  8,
  (view, value) => view.setBigInt64(0, BigInt(value)),
  (view) => Number(view.getBigInt64(0))
)
/** A moment, to the nanosecond. @category models @since 0.1.0 */
export interface Instant {
  /** Seconds since the epoch. */
  readonly seconds: bigint
  /** 0 to 999,999,999. */
  readonly nanos: number
}
/** `java.time.Instant`. @category schemas @since 0.1.0 */
export const instant: PulsarSchema<Instant> = sized(
  "Instant",
  16,
  12,
  (view, { nanos, seconds }) => {
    view.setBigInt64(0, seconds)
    view.setInt32(8, nanosOf(nanos))
  },
  (view) => ({ seconds: view.getBigInt64(0), nanos: view.getInt32(8) })
)
/** Days since the epoch: `java.time.LocalDate`. @category schemas @since 0.1.0 */
export const localDate: PulsarSchema<number> = sized(
  "LocalDate",
  17,
  8,
  (view, value) => view.setBigInt64(0, BigInt(value)),
  (view) => Number(view.getBigInt64(0))
)
/** Nanoseconds of the day: `java.time.LocalTime`. @category schemas @since 0.1.0 */
export const localTime: PulsarSchema<bigint> = sized(
  "LocalTime",
  18,
  8,
  (view, value) => view.setBigInt64(0, value),
  (view) => view.getBigInt64(0)
)
/** A day and a time of it without a zone. @category models @since 0.1.0 */
export interface LocalDateTime {
  /** Days since the epoch. */
  readonly day: number
  /** Nanoseconds of the day. */
  readonly nanos: bigint
}
/** `java.time.LocalDateTime`. @category schemas @since 0.1.0 */
export const localDateTime: PulsarSchema<LocalDateTime> = sized(
  "LocalDateTime",
  19,
  16,
  (view, { day, nanos }) => {
    view.setBigInt64(0, BigInt(day))
    view.setBigInt64(8, nanos)
  },
  (view) => ({ day: Number(view.getBigInt64(0)), nanos: view.getBigInt64(8) })
)
