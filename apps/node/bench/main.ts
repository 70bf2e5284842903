/** `npm run bench -- node [--gb 2] [--runs 5]` */
import { parseArgs } from "node:util"
import { report } from "../../../bench/harness.ts"
import { http } from "./http.ts"

const { values } = parseArgs({
  options: { gb: { type: "string", default: "2" }, runs: { type: "string", default: "5" } }
})
report("node", await http({ gigabytes: Number(values.gb), runs: Number(values.runs) }))
