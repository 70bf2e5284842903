// Runs the test suite and ends with one line that any reader or machine can count.
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), "perigee-test-"))
const report = join(scratch, "report.json")
const run = spawnSync(
  process.execPath,
  [
    join(root, "node_modules/vitest/vitest.mjs"),
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...process.argv.slice(2)
  ],
  { cwd: root, stdio: "inherit" }
)
let status = run.status ?? 1
try {
  const { numFailedTests, numPassedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
    readFileSync(report, "utf8")
  )
  const simulations = testResults
    .filter(({ name }) => /[/\\]test[/\\]sim[/\\]/.test(name))
    .flatMap(({ assertionResults }) => assertionResults)
  if (simulations.length > 0) {
    const seconds = simulations.reduce((sum, { duration }) => sum + (duration ?? 0), 0) / 1000
    console.log(`simulations: ${simulations.length} tests, ${seconds.toFixed(1)} s`)
  }
  console.log(`${numPassedTests} passed, ${numFailedTests} failed, ${numPendingTests + numTodoTests} skipped`)
  if (numPassedTests === 0) {
    console.error("perigee: no test ran")
    status ||= 1
  }
} catch (cause) {
  console.error(`perigee: the test run left no report: ${cause}`)
  status ||= 1
}
rmSync(scratch, { recursive: true, force: true })
process.exit(status)
