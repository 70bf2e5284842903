/**
 * Judges that watch the trace: each observes every event and gives its verdict at the end. An oracle that saw nothing
 * fails, because a check that checked nothing proves nothing.
 */
import type { Field, TraceEvent } from "./Trace.ts"

/** What an oracle found wrong. */
export interface Finding {
  readonly message: string
  readonly details?: Readonly<Record<string, Field>> | undefined
}

/** A judge of one run. */
export interface Oracle {
  readonly name: string
  /** Called after every event; a finding is a violation right there. */
  readonly observe: (event: TraceEvent) => Finding | undefined
  /** Called at the end of the run, after the calm. */
  readonly check: () => ReadonlyArray<Finding>
  /** Events judged so far. */
  readonly saw: () => number
}

/** Makes an oracle from a name and functions over its own state. */
export const make = (oracle: {
  readonly name: string
  readonly observe: (event: TraceEvent) => Finding | undefined | "ignored"
  readonly check?: (() => ReadonlyArray<Finding>) | undefined
}): Oracle => {
  let seen = 0
  return {
    name: oracle.name,
    observe: (event) => {
      const result = oracle.observe(event)
      if (result === "ignored") return undefined
      seen++
      return result
    },
    check: oracle.check ?? (() => []),
    saw: () => seen
  }
}

/** Which events an oracle reads: by name, with the field that identifies. */
export interface Pair {
  /** Event by which something is promised, for example `accepted`. */
  readonly promised: string
  /** Event by which it happens, for example `delivered`. */
  readonly happened: string
  /** Field that tells one thing from another. */
  readonly id: string
}

const idOf = (event: TraceEvent, field: string): string => String(event.fields[field])

const delivery = (name: string, pair: Pair, mayRepeat: boolean, mayMiss: boolean): Oracle => {
  const promised = new Set<string>()
  const happened = new Map<string, number>()
  return make({
    name,
    observe: (event) => {
      if (event.name === pair.promised) {
        promised.add(idOf(event, pair.id))
        return undefined
      }
      if (event.name !== pair.happened) return "ignored"
      const id = idOf(event, pair.id)
      const count = (happened.get(id) ?? 0) + 1
      happened.set(id, count)
      return count > 1 && !mayRepeat ? { message: "happened twice", details: { id, count } } : undefined
    },
    check: () => {
      if (mayMiss) return []
      const missing = [...promised].filter((id) => !happened.has(id))
      return missing.length === 0
        ? []
        : [{ message: "promised and never happened", details: { count: missing.length, first: missing[0]! } }]
    }
  })
}

/** Everything promised happens, and nothing happens twice. */
export const exactlyOnce = (pair: Pair, name = "exactly once"): Oracle => delivery(name, pair, false, false)

/** Everything promised happens. */
export const atLeastOnce = (pair: Pair, name = "at least once"): Oracle => delivery(name, pair, true, false)

/** Nothing happens twice. */
export const atMostOnce = (pair: Pair, name = "at most once"): Oracle => delivery(name, pair, false, true)

/** A numeric field grows with every event of a name, per value of `key`: by exactly one when `contiguous`. */
export const inOrder = (
  options: {
    readonly event: string
    readonly sequence: string
    readonly key?: string | undefined
    readonly contiguous?: boolean | undefined
  },
  name = "in order"
): Oracle => {
  const last = new Map<string, number>()
  return make({
    name,
    observe: (event) => {
      if (event.name !== options.event) return "ignored"
      const key = options.key === undefined ? "" : idOf(event, options.key)
      const sequence = Number(event.fields[options.sequence])
      const before = last.get(key)
      last.set(key, sequence)
      if (before === undefined) return undefined
      const fine = options.contiguous === true ? sequence === before + 1 : sequence > before
      return fine ? undefined : { message: "out of order", details: { key, before, after: sequence } }
    }
  })
}

/** The sum of signed amounts over all events stays what it was: nothing is made or lost. */
export const conservation = (
  options: { readonly amounts: Readonly<Record<string, (event: TraceEvent) => number>>; readonly total: number },
  name = "conservation"
): Oracle => {
  let sum = 0
  return make({
    name,
    observe: (event) => {
      const amount = options.amounts[event.name]
      if (amount === undefined) return "ignored"
      sum += amount(event)
      return undefined
    },
    check: () =>
      sum === options.total ? [] : [{ message: "does not add up", details: { sum, expected: options.total } }]
  })
}

/** Between `acquired` and `released` of a resource nobody else acquires it. */
export const singleOwner = (
  options: {
    readonly acquired: string
    readonly released: string
    readonly resource: string
    readonly owner: string
    /** Events by which an owner loses everything it had, for example a kill; the owner is the event's host. */
    readonly lost?: ReadonlyArray<string> | undefined
  },
  name = "single owner"
): Oracle => {
  const owners = new Map<string, string>()
  return make({
    name,
    observe: (event) => {
      if (options.lost?.includes(event.name) === true) {
        for (const [resource, owner] of owners) {
          if (owner === event.host) owners.delete(resource)
        }
        return undefined
      }
      if (event.name !== options.acquired && event.name !== options.released) return "ignored"
      const resource = idOf(event, options.resource)
      const owner = idOf(event, options.owner)
      const holder = owners.get(resource)
      if (event.name === options.released) {
        if (holder === owner) owners.delete(resource)
        return undefined
      }
      owners.set(resource, owner)
      return holder === undefined || holder === owner
        ? undefined
        : { message: "two owners", details: { resource, holder, owner } }
    }
  })
}

/** A numeric field never leaves a range. */
export const bounded = (
  options: { readonly event: string; readonly field: string; readonly low?: number | undefined; readonly high: number },
  name = "bounded"
): Oracle =>
  make({
    name,
    observe: (event) => {
      if (event.name !== options.event) return "ignored"
      const value = Number(event.fields[options.field])
      return value >= (options.low ?? 0) && value <= options.high
        ? undefined
        : { message: "out of bounds", details: { value, low: options.low ?? 0, high: options.high } }
    }
  })

/** Every operation that starts settles exactly once. */
export const settlesOnce = (
  options: { readonly started: string; readonly settled: ReadonlyArray<string>; readonly id: string },
  name = "settles once"
): Oracle => {
  const open = new Map<string, number>()
  return make({
    name,
    observe: (event) => {
      if (event.name === options.started) {
        open.set(idOf(event, options.id), 0)
        return undefined
      }
      if (!options.settled.includes(event.name)) return "ignored"
      const id = idOf(event, options.id)
      const count = (open.get(id) ?? 0) + 1
      open.set(id, count)
      return count > 1 ? { message: "settled twice", details: { id, outcome: event.name } } : undefined
    },
    check: () => {
      const pending = [...open].filter(([, count]) => count === 0).map(([id]) => id)
      return pending.length === 0
        ? []
        : [{ message: "started and never settled", details: { count: pending.length, first: pending[0]! } }]
    }
  })
}

interface RegisterOperation {
  readonly write: boolean
  value: string
  readonly start: number
  end: number
  unknown: boolean
}

/** States examined per key before the search gives up, which is reported as a finding. */
const maxStates = 200_000

/**
 * Per key, reads and writes of a register look as if each took effect at one instant between its start and its end
 * (linearizability, searched with memoisation). Events: `register.start` with `op`, `key`, `write`, `value`;
 * `register.ok` with `op` and for reads `value`; `register.unknown` with `op` for a write that may have happened.
 */
export const linearizableRegister = (initial: string, name = "linearizable"): Oracle => {
  const operations = new Map<string, RegisterOperation & { readonly key: string }>()
  const keys = new Map<string, Array<RegisterOperation>>()
  return make({
    name,
    observe: (event) => {
      const id = idOf(event, "op")
      if (event.name === "register.start") {
        const operation = {
          key: idOf(event, "key"),
          write: event.fields["write"] === true,
          value: idOf(event, "value"),
          start: event.index,
          end: Infinity,
          unknown: true
        }
        operations.set(id, operation)
        keys.set(operation.key, [...(keys.get(operation.key) ?? []), operation])
        return undefined
      }
      if (event.name !== "register.ok" && event.name !== "register.unknown") return "ignored"
      const operation = operations.get(id)
      if (operation === undefined || event.name === "register.unknown") return undefined
      operation.end = event.index
      operation.unknown = false
      if (!operation.write) operation.value = idOf(event, "value")
      return undefined
    },
    check: () =>
      [...keys].flatMap(([key, all]): ReadonlyArray<Finding> => {
        // A read without an answer constrains nothing.
        const history = all.filter((operation) => operation.write || !operation.unknown)
        const verdict = linearize(history, initial)
        return verdict === "ok" ? [] : [{ message: verdict, details: { key, operations: history.length } }]
      })
  })
}

const linearize = (history: ReadonlyArray<RegisterOperation>, initial: string): string => {
  const seen = new Set<string>()
  let states = 0
  const search = (done: bigint, value: string): boolean => {
    if (history.every((operation, i) => operation.unknown || (done >> BigInt(i)) & 1n)) return true
    const memo = `${done}|${value}`
    if (seen.has(memo) || ++states > maxStates) return false
    seen.add(memo)
    let horizon = Infinity
    history.forEach((operation, i) => {
      if (((done >> BigInt(i)) & 1n) === 0n) horizon = Math.min(horizon, operation.end)
    })
    return history.some((operation, i) => {
      if ((done >> BigInt(i)) & 1n || operation.start > horizon) return false
      if (!operation.write && operation.value !== value) return false
      return search(done | (1n << BigInt(i)), operation.write ? operation.value : value)
    })
  }
  if (search(0n, initial)) return "ok"
  return states > maxStates ? "history too long to judge" : "not linearizable"
}
