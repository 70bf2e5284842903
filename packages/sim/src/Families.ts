/**
 * The kinds of faults there are, in groups, and how each draws its part of a plan from the seed.
 */
import * as Data from "effect/Data"
import type { Chaos, Family, Fault } from "./Fault.ts"
import { Rng } from "./internal/Rng.ts"
import type * as Seed from "./Seed.ts"
import type { Host } from "./world/Host.ts"

/** A fault name that no family has. */
export class UnknownFault extends Data.TaggedError("UnknownFault")<{ readonly fault: string }> {
  override get message(): string {
    return `unknown fault ${JSON.stringify(this.fault)}; known: ${
      families.map((family) => family.name).join(", ")
    }, and the groups network, process, disk`
  }
}

interface Shape {
  /** Most faults in a plan. */
  readonly most: number
  /** Range of durations in milliseconds. */
  readonly duration: readonly [low: number, high: number]
  /** Range of levels. */
  readonly level: readonly [low: number, high: number]
}

/** Draws a plan: a drawn number of faults, more of them early, when programs are busy starting. */
const drawShape = (kind: string, shape: Shape) => (rng: Rng, horizon: number): ReadonlyArray<Fault> => {
  const count = rng.between(1, Math.max(1, Math.ceil(shape.most / rng.pick([1, 2, 4]))))
  return Array.from({ length: count }, () => {
    const u = rng.double()
    return {
      kind,
      at: Math.round(horizon * u * u * 1000) / 1000,
      for: rng.between(shape.duration[0], shape.duration[1]),
      pick: rng.u32(),
      level: rng.between(shape.level[0], shape.level[1])
    }
  })
}

const family = (
  name: string,
  group: Family["group"],
  shape: Partial<Shape>,
  apply: Family["apply"]
): Family => ({
  name,
  group,
  draw: drawShape(name, { most: 12, duration: [0, 0], level: [0, 0], ...shape }),
  apply
})

const anyLink = (chaos: Chaos, fault: Fault) => {
  const links = chaos.network.links
  return links.length === 0 ? undefined : links[fault.pick % links.length]
}

const anyHost = (chaos: Chaos, fault: Fault, suitable: (host: Host<any>) => boolean = () => true) => {
  const hosts = chaos.hosts.filter((host) =>
    (fault.target === undefined || fault.target === host.name) && suitable(host)
  )
  return hosts.length === 0 ? undefined : hosts[fault.pick % hosts.length]
}

const names = (chaos: Chaos): ReadonlyArray<string> => {
  const found = new Set(chaos.hosts.map((host) => host.name))
  for (const link of chaos.network.links) {
    found.add(link.client.machine)
    found.add(link.server.machine)
  }
  return [...found]
}

/** Splits the machines in two groups by the bits of a number; both groups are used unless there is one machine. */
const split = (chaos: Chaos, pick: number): readonly [ReadonlyArray<string>, ReadonlyArray<string>] => {
  const all = names(chaos)
  const left = all.filter((_, index) => ((pick >>> (index % 32)) & 1) === 1)
  if (left.length === 0 && all.length > 0) left.push(all[pick % all.length]!)
  if (left.length === all.length) left.pop()
  return [left, all.filter((name) => !left.includes(name))]
}

const stallBetween = (chaos: Chaos, from: ReadonlyArray<string>, to: ReadonlyArray<string>, bothWays: boolean) => {
  const ends: Array<() => void> = []
  for (const a of from) {
    for (const b of to) {
      ends.push(chaos.network.stall(a, b))
      if (bothWays) ends.push(chaos.network.stall(b, a))
    }
  }
  return () => {
    for (const end of ends) end()
  }
}

const dead = (chaos: Chaos): number => chaos.hosts.filter((host) => !host.alive || host.stopping).length

const kill = (power: boolean, wipe: boolean): Family["apply"] => (chaos, fault) => {
  if (dead(chaos) >= chaos.maxDead) return undefined
  const host = anyHost(chaos, fault, (host) => host.alive)
  if (host === undefined) return undefined
  host.kill({ power, wipe, torn: fault.level % 2 === 1 })
  return { target: host.name, end: () => host.reboot() }
}

const network: ReadonlyArray<Family> = [
  family("cut", "network", { most: 32 }, (chaos, fault) => {
    const link = anyLink(chaos, fault)
    if (link === undefined) return undefined
    chaos.network.cut(link)
    return { target: `link ${link.id}` }
  }),
  family("close", "network", {}, (chaos, fault) => {
    const link = anyLink(chaos, fault)
    if (link === undefined) return undefined
    // An orderly end that neither program asked for, as a proxy between them makes it.
    const [near, far] = fault.level % 2 === 0 ? [link.client, link.server] : [link.server, link.client]
    near.outgoing.finish()
    far.outgoing.finish()
    return { target: `link ${link.id}` }
  }),
  family("halfOpen", "network", { most: 6 }, (chaos, fault) => {
    const link = anyLink(chaos, fault)
    if (link === undefined) return undefined
    const gone = fault.pick % 2 === 0 ? link.client : link.server
    chaos.network.halfOpen(link, gone)
    return { target: `link ${link.id} at ${gone.machine}` }
  }),
  family("clog", "network", { most: 24, duration: [50, 2000] }, (chaos, fault) => {
    const link = anyLink(chaos, fault)
    if (link === undefined) return undefined
    const [from, to] = fault.pick % 2 === 0 ? [link.client, link.server] : [link.server, link.client]
    return { target: `${from.machine}>${to.machine}`, end: chaos.network.stall(from.machine, to.machine) }
  }),
  family("swizzle", "network", { most: 3, duration: [200, 3000] }, (chaos, fault) => {
    // A random subset is clogged one by one and released in another order.
    const rng = new Rng(fault.pick, chaos.world.seed.lo, "swizzle")
    const all = names(chaos)
    const chosen = rng.shuffle(all).slice(0, rng.between(1, Math.max(1, all.length)))
    const step = (fault.for * 1000) / (2 * chosen.length + 1)
    const releases: Array<() => void> = []
    const timers = chosen.map((name, index) =>
      chaos.world.after(index * step, () => {
        releases.push(stallBetween(chaos, [name], all.filter((other) => other !== name), true))
        if (releases.length < chosen.length) return
        rng.shuffle(releases).forEach((release, place) => timers.push(chaos.world.after((place + 1) * step, release)))
      })
    )
    return {
      target: chosen.join(","),
      end: () => {
        for (const cancel of timers) cancel()
        for (const release of releases) release()
      }
    }
  }),
  family("partition", "network", { most: 6, duration: [200, 4000] }, (chaos, fault) => {
    const [left, right] = split(chaos, fault.pick)
    if (left.length === 0 || right.length === 0) return undefined
    return { target: `${left.join(",")}|${right.join(",")}`, end: stallBetween(chaos, left, right, true) }
  }),
  family("oneWay", "network", { most: 6, duration: [200, 4000] }, (chaos, fault) => {
    const [left, right] = split(chaos, fault.pick)
    if (left.length === 0 || right.length === 0) return undefined
    return { target: `${left.join(",")}>${right.join(",")}`, end: stallBetween(chaos, left, right, false) }
  }),
  family("fragment", "network", { most: 4, duration: [200, 5000], level: [1, 64] }, (chaos, fault) => {
    chaos.network.fragmentSize = fault.level
    return {
      target: `${fault.level} bytes`,
      end: () => {
        chaos.network.fragmentSize = Infinity
      }
    }
  }),
  family("bandwidth", "network", { most: 3, duration: [200, 5000], level: [1, 64] }, (chaos, fault) => {
    chaos.network.bytesPerSecond = fault.level * 1024
    return {
      target: `${fault.level} KiB/s`,
      end: () => {
        chaos.network.bytesPerSecond = Infinity
      }
    }
  }),
  family("bitFlip", "network", { most: 3, duration: [50, 1000], level: [1, 10] }, (chaos, fault) => {
    chaos.network.flipRate = fault.level / 100
    return {
      target: `${fault.level}%`,
      end: () => {
        chaos.network.flipRate = 0
      }
    }
  }),
  family("refuse", "network", { most: 6, duration: [100, 3000] }, (chaos) => ({
    target: "*",
    end: chaos.network.dialFault("*", "refuse")
  })),
  family("hangDial", "network", { most: 4, duration: [100, 3000] }, (chaos) => ({
    target: "*",
    end: chaos.network.dialFault("*", "hang")
  })),
  family("acceptClose", "network", { most: 4, duration: [100, 2000] }, (chaos) => ({
    target: "*",
    end: chaos.network.dialFault("*", "acceptClose")
  })),
  family("slowAccept", "network", { most: 4, duration: [100, 3000], level: [10, 2000] }, (chaos, fault) => {
    chaos.network.slowAccept = fault.level * 1000
    return {
      target: `${fault.level} ms`,
      end: () => {
        chaos.network.slowAccept = 0
      }
    }
  }),
  family("dns", "network", { most: 4, duration: [100, 3000] }, (chaos, fault) => {
    const all = names(chaos)
    if (all.length === 0) return undefined
    const name = all[fault.pick % all.length]!
    return { target: name, end: chaos.network.loseName(name) }
  })
]

const process: ReadonlyArray<Family> = [
  family("kill", "process", { most: 6, duration: [20, 3000] }, kill(false, false)),
  family("crash", "process", { most: 6, duration: [20, 3000], level: [0, 1] }, kill(true, false)),
  family("crashStorm", "process", { most: 1, duration: [200, 3000], level: [2, 5] }, (chaos, fault) => {
    const applied = kill(true, false)(chaos, fault)
    if (applied === undefined) return undefined
    const host = chaos.hosts.find((host) => host.name === applied.target)!
    const period = (fault.for * 1000) / fault.level
    const timers: Array<() => void> = []
    for (let i = 0; i < fault.level; i++) {
      timers.push(chaos.world.after((i + 0.5) * period, () => host.reboot()))
      if (i === 0) continue
      timers.push(chaos.world.after(i * period, () => {
        if (host.alive && dead(chaos) < chaos.maxDead) host.kill({ power: true })
      }))
    }
    return {
      target: host.name,
      end: () => {
        for (const cancel of timers) cancel()
        host.reboot()
      }
    }
  }),
  family("stop", "process", { most: 4, duration: [20, 3000], level: [0, 5000] }, (chaos, fault) => {
    // A deployment: the process is asked to end, has `level` milliseconds for it, and is started again.
    if (dead(chaos) >= chaos.maxDead) return undefined
    const host = anyHost(chaos, fault, (host) => host.alive && !host.stopping)
    if (host === undefined) return undefined
    let down = false
    let over = false
    host.terminate(fault.level, () => {
      down = true
      if (over) host.boot()
    })
    return {
      target: `${host.name} within ${fault.level} ms`,
      end: () => {
        over = true
        if (down) host.boot()
      }
    }
  }),
  family("pause", "process", { most: 4, duration: [100, 20_000] }, (chaos, fault) => {
    const host = anyHost(chaos, fault, (host) => host.alive && !host.paused)
    if (host === undefined) return undefined
    host.pause()
    return { target: host.name, end: () => host.resume() }
  }),
  family("clockJump", "process", { most: 4, level: [-3600, 3600] }, (chaos, fault) => {
    const host = anyHost(chaos, fault)
    if (host === undefined) return undefined
    host.clock.skew += fault.level * 1_000_000
    return { target: `${host.name} ${fault.level} s` }
  }),
  family("drift", "process", { most: 2, level: [-500, 500] }, (chaos, fault) => {
    const host = anyHost(chaos, fault)
    if (host === undefined) return undefined
    host.clock.setDrift(chaos.world.now, fault.level)
    return { target: `${host.name} ${fault.level} ppm` }
  }),
  family("lateTimers", "process", { most: 2, duration: [1000, 10_000], level: [50, 150] }, (chaos, fault) => {
    const rng = new Rng(fault.pick, chaos.world.seed.lo, "lateTimers")
    const lateness = () => {
      if (!rng.chance(0.25)) return 0
      const u = rng.double()
      return Math.round(u * u * u * fault.level * 1000)
    }
    chaos.lateness.add(lateness)
    return {
      target: `up to ${fault.level} ms`,
      end: () => {
        chaos.lateness.delete(lateness)
      }
    }
  })
]

const disk: ReadonlyArray<Family> = [
  family("slowDisk", "disk", { most: 4, duration: [100, 5000], level: [10, 1000] }, (chaos, fault) => {
    const host = anyHost(chaos, fault)
    if (host === undefined) return undefined
    host.disk.slowness = fault.level
    return {
      target: `${host.name} ${fault.level}x`,
      end: () => {
        host.disk.slowness = 1
      }
    }
  }),
  family("freezeDisk", "disk", { most: 3, duration: [100, 5000] }, (chaos, fault) => {
    const host = anyHost(chaos, fault, (host) => !host.disk.frozen)
    if (host === undefined) return undefined
    host.disk.freeze()
    return { target: host.name, end: () => host.disk.thaw() }
  }),
  family("fullDisk", "disk", { most: 3, duration: [100, 5000] }, (chaos, fault) => {
    const host = anyHost(chaos, fault)
    if (host === undefined) return undefined
    return { target: host.name, end: host.disk.model.fill() }
  }),
  family("diskError", "disk", { most: 6, level: [1, 40] }, (chaos, fault) => {
    const host = anyHost(chaos, fault)
    if (host === undefined) return undefined
    host.disk.failNth({ operation: "any", nth: fault.level, code: "EIO" })
    return { target: `${host.name} operation +${fault.level}` }
  }),
  family("syncError", "disk", { most: 3, duration: [100, 3000] }, (chaos, fault) => {
    const host = anyHost(chaos, fault)
    if (host === undefined) return undefined
    host.disk.syncErrorRate = 0.5
    return {
      target: host.name,
      end: () => {
        host.disk.syncErrorRate = 0
      }
    }
  }),
  family("corruptRead", "disk", { most: 3, duration: [100, 3000] }, (chaos, fault) => {
    const host = anyHost(chaos, fault)
    if (host === undefined) return undefined
    host.disk.corruptRate = 0.2
    return {
      target: host.name,
      end: () => {
        host.disk.corruptRate = 0
      }
    }
  }),
  family("crashAtOperation", "disk", { most: 3, duration: [20, 1000], level: [1, 60] }, (chaos, fault) => {
    const host = anyHost(chaos, fault)
    if (host === undefined) return undefined
    let left = fault.level
    host.disk.beforeEffect = () => {
      if (--left > 0 || !host.alive || dead(chaos) >= chaos.maxDead) return false
      host.disk.beforeEffect = undefined
      host.kill({ power: true, torn: fault.pick % 2 === 0 })
      chaos.world.after(fault.for * 1000, () => host.reboot())
      return true
    }
    return { target: `${host.name} operation +${fault.level}` }
  })
]

/** Losing the disk itself: beyond what most systems promise, so it belongs to no group and is asked for by name. */
const wipe: Family = family("wipe", "custom", { most: 2, duration: [20, 3000] }, kill(true, true))

/** A rack or a building without power: as many processes go down as are there, so that it is asked for by name. */
const zone: Family = family("zone", "custom", { most: 2, duration: [20, 3000] }, (chaos, fault) => {
  const zones = [...new Set(chaos.hosts.flatMap((host) => host.alive ? host.zone ?? [] : []))]
  const hit = fault.target ?? zones[fault.pick % Math.max(1, zones.length)]
  const hosts = chaos.hosts.filter((host) => host.zone === hit && host.alive)
  if (hit === undefined || hosts.length === 0 || dead(chaos) + hosts.length > chaos.maxDead) return undefined
  for (const host of hosts) host.kill({ power: true, torn: fault.level % 2 === 1 })
  return {
    target: `${hit}: ${hosts.map((host) => host.name).join(",")}`,
    end: () => {
      for (const host of hosts) host.reboot()
    }
  }
})

/** Every built-in family. */
export const families: ReadonlyArray<Family> = [...network, ...process, ...disk, wipe, zone]

/** What a network does to the streams of programs that leave flipped bits to TCP and TLS. */
const streams = network.filter(({ name }) => name !== "bitFlip")

const groups: Readonly<Record<string, ReadonlyArray<Family>>> = { network, streams, process, disk }

/** The families behind names, group names, and families given as values. Throws {@link UnknownFault}. */
export const resolve = (faults: ReadonlyArray<string | Family>): ReadonlyArray<Family> => {
  const found = new Map<string, Family>()
  for (const fault of faults) {
    const matches = typeof fault !== "string"
      ? [fault]
      : groups[fault] ?? families.filter((family) => family.name === fault)
    if (matches.length === 0) throw new UnknownFault({ fault: String(fault) })
    for (const match of matches) found.set(match.name, match)
  }
  return [...found.values()]
}

/** The plan of a seed: each enabled family draws from a stream of its own. Sorted by time. */
export const drawPlan = (
  seed: Seed.Seed,
  enabled: ReadonlyArray<Family>,
  horizon: number
): ReadonlyArray<Fault> =>
  enabled
    .flatMap((family) => family.draw(new Rng(seed.hi, seed.lo, `fault:${family.name}`), horizon))
    .toSorted((a, b) => a.at - b.at)
