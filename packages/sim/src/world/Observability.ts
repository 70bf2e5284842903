/**
 * Logs, spans and console output of a host, written into the trace instead of the terminal.
 */
import * as Cause from "effect/Cause"
import type * as Console from "effect/Console"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import type { Field } from "../Trace.ts"
import type { World } from "./World.ts"

const maxText = 200

/** A value as a flat trace field: short, and free of stacks, fiber ids and identities. */
export const toField = (value: unknown): Field => {
  switch (typeof value) {
    case "number":
    case "boolean":
      return value
    case "string":
      return value.slice(0, maxText)
    case "bigint":
      return value.toString()
    case "undefined":
      return null
    case "object": {
      if (value === null) return null
      if (value instanceof Error) return `${value.name}: ${value.message}`.slice(0, maxText)
      if (Cause.isCause(value)) {
        return value.reasons
          .map((reason) =>
            reason._tag === "Interrupt" ? "Interrupt" : toField(reason._tag === "Fail" ? reason.error : reason.defect)
          )
          .join("; ")
          .slice(0, maxText)
      }
      try {
        return JSON.stringify(value, (_key, inner) => typeof inner === "bigint" ? inner.toString() : inner)
          .slice(0, maxText)
      } catch {
        return "[unprintable]"
      }
    }
    default:
      return `[${typeof value}]`
  }
}

/** The logger of a host: one `log` event per message, annotations as fields. */
export const makeLogger = (world: World, host: string): Logger.Logger<unknown, void> =>
  Logger.make(({ cause, fiber, logLevel, message }) => {
    const items = Array.isArray(message) ? message : [message]
    const fields: Record<string, Field> = {
      level: logLevel,
      message: items.map((item) => String(toField(item))).join(" ")
    }
    for (const [key, value] of Object.entries(fiber.getRef(References.CurrentLogAnnotations))) {
      fields[key] = toField(value)
    }
    if (cause.reasons.length > 0) fields["cause"] = toField(cause)
    world.trace.append(host, "log", fields)
  })

/** The tracer of a host: spans with ids from a counter, never from ambient randomness. */
export const makeTracer = (host: string): Tracer.Tracer => {
  let counter = 0
  const prefix = Array.from(host, (char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join("").slice(0, 8)
    .padEnd(8, "0")
  const next = (length: number) => prefix + (++counter).toString(16).padStart(length - 8, "0")
  return Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      span._spanId = next(16)
      if (options.parent._tag === "None") span._traceId = next(32)
      return span
    }
  })
}

/** The console of a host: one `console` event per call. */
export const makeConsole = (world: World, host: string): Console.Console => {
  const write = (method: string) => (...args: ReadonlyArray<unknown>) => {
    world.trace.append(host, "console", { method, message: args.map((arg) => String(toField(arg))).join(" ") })
  }
  const silent = () => {}
  return {
    assert: (condition, ...args) => {
      if (!condition) write("assert")(...args)
    },
    clear: silent,
    count: (label) => write("count")(label ?? "default"),
    countReset: silent,
    debug: write("debug"),
    dir: (item) => write("dir")(item),
    dirxml: write("dirxml"),
    error: write("error"),
    group: write("group"),
    groupCollapsed: write("group"),
    groupEnd: silent,
    info: write("info"),
    log: write("log"),
    table: (data) => write("table")(data),
    time: silent,
    timeEnd: silent,
    timeLog: silent,
    trace: write("trace"),
    warn: write("warn")
  }
}
