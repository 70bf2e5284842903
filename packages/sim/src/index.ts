/**
 * Deterministic simulation of any Effect program: one seed drives clock, scheduling, randomness, network, storage and
 * crashes of unchanged production code, and replays any failure.
 */
export * as Assert from "./Assert.ts"
export * as Buggify from "./Buggify.ts"
export * as Campaign from "./Campaign.ts"
export * as Config from "./Config.ts"
export * as Corpus from "./Corpus.ts"
export * as Nemesis from "./Nemesis.ts"
export * as Oracle from "./Oracle.ts"
export * as Report from "./Report.ts"
export { simTest, SimulationFailed } from "./Scenario.ts"
export * as Seed from "./Seed.ts"
export * as Shrink from "./Shrink.ts"
export * as Simulation from "./Simulation.ts"
export { Sim } from "./Simulation.ts"
export * as Trace from "./Trace.ts"
export * as Host from "./world/Host.ts"
export { CurrentHost, HostDown, type HostServices, layerServer, layerSocket } from "./world/Host.ts"
export * as LogStore from "./world/LogStore.ts"
export * as Port from "./world/Port.ts"
