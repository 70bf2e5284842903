import * as Data from "effect/Data"

/** Why a bridge had to stop what it was doing; it tries again. */
export class Trouble extends Data.TaggedError("Trouble")<{ readonly message: string }> {}
