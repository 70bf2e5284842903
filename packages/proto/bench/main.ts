/** The protocol alone, without socket, broker or Effect: `npm run bench -- proto`. */
import { measure, type Measured, report, versus } from "../../../bench/harness.ts"
import { Crc32c } from "../src/wire/index.ts"
import { payload, receive, send } from "./machine.ts"

const crc = (size: number) => {
  const bytes = payload(size + 8)
  return () => {
    const rounds = Math.ceil(200_000_000 / size)
    let sum = 0
    // By the processor's time: nothing waits here, and a machine with other work says nothing about a checksum.
    const before = process.cpuUsage().user
    for (let round = 0; round < rounds; round++) sum ^= Crc32c.update(0, bytes, round & 3, size)
    const seconds = (process.cpuUsage().user - before) / 1e6
    if (sum === -1) throw new Error("never")
    return (rounds * size) / seconds / 1e9
  }
}

const row = async (
  work: string,
  unit: string,
  f: () => number,
  goal?: { text: string; met: (ours: number) => boolean }
) => {
  const measured: Measured = await measure(f, 5, 2)
  return versus(work, unit, measured, goal === undefined ? {} : { goal })
}

const million = 1_000_000
report("proto", [
  await row("send 100 B batched, state machine and back", "msg/s", send(100, true, 2 * million), {
    text: "> 450 k/s (a Kafka client's class)",
    met: (ours) => ours > 450_000
  }),
  await row("send 1 KB batched", "msg/s", send(1024, true, million)),
  await row("send 100 B singly", "msg/s", send(100, false, 300_000), {
    text: "> 95 k/s (a Kafka client's class)",
    met: (ours) => ours > 95_000
  }),
  await row("receive 100 B batched, acked one by one", "msg/s", receive(100, 1000, 2 * million)),
  await row("receive 1 KB batched, acked one by one", "msg/s", receive(1024, 100, million)),
  await row("receive 100 B singly, acked one by one", "msg/s", receive(100, 1, 500_000)),
  await row("CRC32C of 1 KB", "GB per CPU second", crc(1024)),
  await row("CRC32C of 100 B", "GB per CPU second", crc(100))
])
