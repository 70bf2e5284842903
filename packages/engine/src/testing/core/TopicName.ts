/**
 * Names of topics: `persistent://tenant/namespace/topic`, and `…-partition-3` for a part of one.
 */
const FULL = /^(persistent|non-persistent):\/\/([^/]+)\/([^/]+)\/(.+)$/
const PARTITION = /^(.+)-partition-(\d{1,9})$/

/** The full name; a short one is of `public/default`. `undefined` for what is no topic name. */
export const normalise = (name: string): string | undefined => {
  if (FULL.test(name)) return name
  if (name === "" || name.includes("://")) return undefined
  const parts = name.split("/")
  if (parts.length === 1) return `persistent://public/default/${name}`
  return parts.length === 3 && parts.every((part) => part !== "") ? `persistent://${name}` : undefined
}

export const isPersistent = (name: string): boolean => name.startsWith("persistent://")

/** `tenant/namespace` of a full name. */
export const namespaceOf = (name: string): string => {
  const match = FULL.exec(name)
  return match === null ? "" : `${match[2]}/${match[3]}`
}

/** The name without domain, which is what patterns are matched against. */
export const withoutDomain = (name: string): string => name.slice(name.indexOf("://") + 3)

/** Number of the partition that a name is of, -1 for a topic that is none. */
export const partitionOf = (name: string): number => {
  const match = PARTITION.exec(name)
  return match === null ? -1 : Number(match[2])
}

/** The partitioned topic that a name is a part of; the name itself when it is none. */
export const baseOf = (name: string): string => PARTITION.exec(name)?.[1] ?? name

export const partitionName = (base: string, partition: number): string => `${base}-partition-${partition}`
