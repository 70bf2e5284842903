import { createRequire } from "node:module"

/** Version of this package, as its `package.json` says. */
export const version: string =
  (createRequire(import.meta.url)("../package.json") as { readonly version: string }).version
