import { Script } from "node:vm"
import * as Tripwire from "../Tripwire.ts"

const guardKey = Symbol.for("@perigee/sim/guarded")
const guardScript = new Script("globalThis[Symbol.for('@perigee/sim/guarded')]()")

/**
 * Runs `body` and interrupts it when it has not returned after `realMs`: undefined then. A loop without scheduling points
 * cannot be stopped from inside.
 */
export const guarded = <A>(body: () => A, realMs: number): A | undefined => {
  let result: A | undefined
  const slots = globalThis as unknown as Record<symbol, (() => void) | undefined>
  slots[guardKey] = () => {
    result = body()
  }
  try {
    guardScript.runInThisContext({ timeout: realMs })
    return result
  } catch (cause) {
    if ((cause as { code?: string }).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw cause
    Tripwire.restore()
    return undefined
  } finally {
    slots[guardKey] = undefined
  }
}
