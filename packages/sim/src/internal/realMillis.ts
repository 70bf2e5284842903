// Taken before any wire is in place: the engine's own limit is not the program's doing.
const hrtime = process.hrtime.bigint.bind(process.hrtime)

/** Real milliseconds since an arbitrary moment; only ever compared with a limit. */
export const realMillis = (): number => Number(hrtime() / 1_000_000n)
