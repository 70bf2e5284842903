#!/usr/bin/env node
// Runs the simulations below the current folder; `--help` prints the options.
import { main } from "@perigee/sim/command"

process.exitCode = await main(process.argv.slice(2), process.cwd())
