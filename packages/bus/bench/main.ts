/** `npm run bench -- bus [publish | store | read | memory]` */
import { report, type Row } from "../../../bench/harness.ts"
import { memory } from "./memory.ts"
import { publish } from "./publish.ts"
import { read } from "./read.ts"
import { store } from "./store.ts"

const parts: Record<string, () => Promise<ReadonlyArray<Row>>> = { publish, store, read, memory }
const asked = process.argv.slice(2).filter((argument) => argument in parts)
const rows: Array<Row> = []
for (const [name, part] of Object.entries(parts)) {
  if (asked.length === 0 || asked.includes(name)) rows.push(...await part())
}
report(asked.length === 0 ? "bus" : `bus-${asked.join("-")}`, rows)
