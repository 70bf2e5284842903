/**
 * Resume keys: 16 random bytes that name a conduit and prove the right to resume it.
 *
 * @since 0.1.0
 */
import { keyBytes } from "./Hello.ts"

/**
 * Compares two keys in time that does not depend on where they differ.
 *
 * @since 0.1.0
 */
export const equals = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== keyBytes || b.length !== keyBytes) return false
  let difference = 0
  for (let i = 0; i < keyBytes; i++) difference |= a[i]! ^ b[i]!
  return difference === 0
}

/**
 * The first four bytes as a number. It selects the few candidates that are then compared in constant time; the other
 * twelve bytes (96 bits) are what an attacker would have to guess, and nothing about them shows in the timing.
 *
 * @since 0.1.0
 */
export const selector = (key: Uint8Array): number =>
  (key[0]! | (key[1]! << 8) | (key[2]! << 16) | (key[3]! << 24)) >>> 0
