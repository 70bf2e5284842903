/**
 * Clients that watch a namespace for topics by pattern (PIP-145).
 */
import { Crc32c } from "@perigee/proto/wire"
import * as TopicName from "./TopicName.ts"

export interface Watcher {
  readonly namespace: string
  readonly matches: (topic: string) => boolean
  /** Names of this watcher's topics after the change. */
  readonly current: () => ReadonlyArray<string>
  readonly update: (added: ReadonlyArray<string>, removed: ReadonlyArray<string>, hash: string) => void
}

const encoder = new TextEncoder()

/** A digest of a list of topics, by which both sides see that nothing has changed. */
export const hashOf = (topics: ReadonlyArray<string>): string =>
  Crc32c.crc32c(encoder.encode([...topics].sort().join(","))).toString(16).padStart(8, "0")

/** A test by pattern against whole names without their domain; `undefined` for what is no pattern. */
export const matcher = (pattern: string): ((topic: string) => boolean) | undefined => {
  const bare = pattern.includes("://") ? TopicName.withoutDomain(pattern) : pattern
  try {
    const expression = new RegExp(`^(?:${bare})$`)
    return (topic) => expression.test(TopicName.withoutDomain(topic))
  } catch {
    return undefined
  }
}

export class Watchers {
  readonly #watchers = new Set<Watcher>()

  add(watcher: Watcher): void {
    this.#watchers.add(watcher)
  }

  delete(watcher: Watcher): void {
    this.#watchers.delete(watcher)
  }

  changed(added: ReadonlyArray<string>, removed: ReadonlyArray<string>): void {
    for (const watcher of this.#watchers) {
      const ours = (topics: ReadonlyArray<string>) =>
        topics.filter((topic) => TopicName.namespaceOf(topic) === watcher.namespace && watcher.matches(topic))
      const [more, fewer] = [ours(added), ours(removed)]
      if (more.length + fewer.length > 0) watcher.update(more, fewer, hashOf(watcher.current()))
    }
  }
}
