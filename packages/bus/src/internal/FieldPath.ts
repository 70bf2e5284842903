/** Dotted paths into JSON values, split once and then looked up without allocation. */

/** One step of a path: a key of an object, and an index too when it is spelt as one. */
export interface Segment {
  readonly key: string
  /** −1 when the segment is not an index. */
  readonly index: number
}

// An index is spelt as JSON prints it: "01" and "+1" are keys only.
const canonicalIndex = /^(?:0|[1-9][0-9]{0,9})$/

/** Splits a path at its dots; there is no escape. The empty path is the whole value. */
export const split = (path: string): ReadonlyArray<Segment> =>
  path === ""
    ? []
    : path.split(".").map((key) => ({ key, index: canonicalIndex.test(key) ? Number(key) : -1 }))

/**
 * The member that a path leads to, `undefined` when there is none (JSON has no other use for it). Objects are asked for own keys only, so that
 * `__proto__` and `constructor` find nothing that the payload did not carry.
 */
export const get = (value: unknown, segments: ReadonlyArray<Segment>): unknown => {
  let current = value
  for (const segment of segments) {
    if (typeof current !== "object" || current === null) return undefined
    if (Array.isArray(current)) {
      if (segment.index === -1 || segment.index >= current.length) return undefined
      current = current[segment.index]
    } else {
      if (!Object.hasOwn(current, segment.key)) return undefined
      current = (current as Record<string, unknown>)[segment.key]
    }
  }
  return current
}
