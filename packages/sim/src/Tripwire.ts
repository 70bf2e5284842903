/**
 * Wrapped globals that notice simulated code touching the real world: time, randomness, timers, the network. They are
 * in place only while a synchronous run executes, and they keep working; a touch becomes the run's verdict.
 */

/** One touch: what was used, and the first frame outside Effect and the simulator. */
export interface Touch {
  readonly global: string
  readonly frame: string
  /** A promise was awaited: the fiber waits for something that the simulated world does not contain. */
  readonly promise: boolean
}

/** Touches kept per run. */
const maxTouches = 10

const ignored = [
  /[/\\]node_modules[/\\](?:\.vite[/\\][^/\\]+[/\\])?effect[/\\]/,
  /[/\\](?:packages[/\\]sim|node_modules[/\\]@perigee[/\\]sim)[/\\](?:src|dist)[/\\]/,
  /\(?node:/,
  /\(?<anonymous>/
]

const driver = /driveSync|runSimulated/

/** The first frame of product code above the simulation's driver; undefined when Effect touched it by itself. */
const culprit = (): string | undefined => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 60
  const stack = new Error("touch").stack ?? ""
  Error.stackTraceLimit = limit
  for (const line of stack.split("\n").slice(1)) {
    if (driver.test(line)) return undefined
    if (ignored.some((pattern) => pattern.test(line))) continue
    return line.trim().replace(/^at /, "").replace(/\?[^:)]*(?=:\d)/, "")
  }
  return undefined
}

/** Runs `body` with the wires in place and returns its result with what was touched. */
export const watch = <A>(body: () => A): { readonly result: A; readonly touches: ReadonlyArray<Touch> } => {
  const touches: Array<Touch> = []
  const touch = (global: string, promise = false) => {
    if (touches.length >= maxTouches) return
    const frame = culprit() ?? (promise ? "Effect.promise" : undefined)
    if (frame !== undefined) touches.push({ global, frame, promise })
  }
  const undo: Array<() => void> = []
  const wrap = <T extends object>(target: T, key: keyof T & string, label: string, promise = false): void => {
    const descriptor = Object.getOwnPropertyDescriptor(target, key)
    const original = target[key]
    if (typeof original !== "function" || descriptor?.configurable !== true) return
    const wrapped = function(this: unknown, ...args: Array<unknown>) {
      touch(label, promise)
      return Reflect.apply(original, this, args) as unknown
    }
    Object.assign(wrapped, original)
    const { configurable, enumerable = false } = descriptor
    Object.defineProperty(target, key, { configurable, enumerable, writable: true, value: wrapped })
    undo.push(() => Object.defineProperty(target, key, descriptor))
  }
  const globals = globalThis as unknown as Record<string, object> & typeof globalThis
  wrap(Date, "now", "Date.now")
  wrap(Math, "random", "Math.random")
  for (const name of ["setTimeout", "setInterval", "setImmediate", "queueMicrotask"] as const) wrap(globals, name, name)
  wrap(globals, "fetch" as never, "fetch")
  wrap(process, "nextTick", "process.nextTick")
  wrap(process.hrtime, "bigint", "process.hrtime.bigint")
  wrap(process, "hrtime", "process.hrtime")
  wrap(Object.getPrototypeOf(performance) as typeof performance, "now", "performance.now")
  const webCrypto = Object.getPrototypeOf(crypto) as typeof crypto
  wrap(webCrypto, "getRandomValues", "crypto.getRandomValues")
  wrap(webCrypto, "randomUUID", "crypto.randomUUID")
  // Only a fiber's own wait counts: Effect calls `then` on the promise it was given.
  wrap(Promise.prototype, "then", "a promise", true)
  const RealDate = globalThis.Date
  const wiredDate = new Proxy(RealDate, {
    construct: (target, args, newTarget) => {
      if (args.length === 0) touch("new Date()")
      return Reflect.construct(target, args, newTarget) as object
    },
    apply: (target, self, args) => {
      touch("Date()")
      return Reflect.apply(target, self, args) as string
    }
  })
  globalThis.Date = wiredDate
  undo.push(() => {
    globalThis.Date = RealDate
  })
  installed = undo
  try {
    return { result: body(), touches }
  } finally {
    restore()
  }
}

let installed: Array<() => void> = []

/** Takes the wires down. Needed by hand only when the run was terminated from outside. */
export const restore = (): void => {
  for (const undo of installed.splice(0).toReversed()) undo()
}
