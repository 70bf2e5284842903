/**
 * Serial-number arithmetic over unsigned 32-bit sequence numbers (RFC 1982): comparison stays right across the wrap
 * from 4294967295 to 0 as long as fewer than 2^31 numbers are outstanding.
 *
 * @since 0.1.0
 */

/**
 * Half of the number space: no window may span this many numbers or more.
 *
 * @since 0.1.0
 */
export const halfSpace = 0x8000_0000

/**
 * The number after `n`; 0 follows 4294967295.
 *
 * @since 0.1.0
 */
export const next = (n: number): number => (n + 1) >>> 0

/**
 * The number before `n`; 4294967295 precedes 0.
 *
 * @since 0.1.0
 */
export const previous = (n: number): number => (n - 1) >>> 0

/**
 * How many steps lead from `from` up to `to`, modulo 2^32.
 *
 * @since 0.1.0
 */
export const distance = (from: number, to: number): number => (to - from) >>> 0

/**
 * Whether `a` comes at or before `b`.
 *
 * @since 0.1.0
 */
export const atOrBefore = (a: number, b: number): boolean => ((b - a) >>> 0) < halfSpace

/**
 * Whether `a` comes strictly after `b`.
 *
 * @since 0.1.0
 */
export const after = (a: number, b: number): boolean => ((b - a) >>> 0) >= halfSpace
