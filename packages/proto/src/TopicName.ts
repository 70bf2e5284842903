/**
 * Names of topics: `persistent://tenant/namespace/topic`, with the short forms that every client takes.
 *
 * @since 0.1.0
 */

/** @category models @since 0.1.0 */
export interface TopicName {
  readonly domain: "persistent" | "non-persistent"
  readonly tenant: string
  readonly namespace: string
  readonly local: string
}

const FULL = /^(persistent|non-persistent):\/\/([^/]+)\/([^/]+)\/(.+)$/

/**
 * Reads a name: `topic`, `tenant/namespace/topic` or a full one; `undefined` when it is none of them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (text: string): TopicName | undefined => {
  let full = text
  if (!text.includes("://")) {
    const parts = text.split("/")
    if (parts.length === 1) full = `persistent://public/default/${text}`
    else if (parts.length === 3) full = `persistent://${text}`
    else return undefined
  }
  const match = FULL.exec(full)
  if (match === null || match[4]!.length > 4096) return undefined
  return { domain: match[1] as TopicName["domain"], tenant: match[2]!, namespace: match[3]!, local: match[4]! }
}

/** @category combinators @since 0.1.0 */
export const format = (name: TopicName): string => `${name.domain}://${name.tenant}/${name.namespace}/${name.local}`

/** The full name, `undefined` for what is no topic name. @category combinators @since 0.1.0 */
export const normalize = (text: string): string | undefined => {
  const name = parse(text)
  return name === undefined ? undefined : format(name)
}

const PARTITION = /^(.+)-partition-(\d{1,10})$/

/** The partition a name speaks of, -1 for none: digits only, at most 2^32 - 1, something in front. @category combinators @since 0.1.0 */
export const partitionOf = (topic: string): number => {
  const match = PARTITION.exec(topic)
  if (match === null) return -1
  const partition = Number(match[2])
  return partition <= 0xffffffff ? partition : -1
}

/** @category combinators @since 0.1.0 */
export const partition = (topic: string, index: number): string => `${topic}-partition-${index}`

/** The topic that a partition is one of; any other name is its own. @category combinators @since 0.1.0 */
export const withoutPartition = (topic: string): string => partitionOf(topic) < 0 ? topic : PARTITION.exec(topic)![1]!
