/**
 * What `node:sqlite` says in its errors. Imported by worker threads: no Effect here.
 */

interface SqliteError extends Error {
  readonly errcode: number
  readonly errstr: string
}

const isSqliteError = (cause: unknown): cause is SqliteError =>
  cause instanceof Error && typeof (cause as Partial<SqliteError>).errcode === "number"

/** Extended result code, 0 when the error is not SQLite's. See https://sqlite.org/rescode.html */
export const extendedCode = (cause: unknown): number => isSqliteError(cause) ? cause.errcode : 0

/** Primary result code, 0 when the error is not SQLite's. */
export const resultCode = (cause: unknown): number => extendedCode(cause) & 0xff

/** The error's own words, with the result code. */
export const describe = (cause: unknown): string =>
  isSqliteError(cause)
    ? `${cause.message} (SQLite ${cause.errcode})`
    : cause instanceof Error
    ? cause.message
    : String(cause)
