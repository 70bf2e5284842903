/**
 * Worker thread: owns the connection that writes. Everything that waits goes into one transaction and one fsync.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads"
import type {
  AppendRequest,
  Greeting,
  Opened,
  Request,
  Response,
  WorkerOptions,
  WriteRequest
} from "./internal/protocol.ts"
import { failureOf, openWriter } from "./internal/schema.ts"
import { Writer } from "./internal/Writer.ts"

const port = parentPort!
const options = workerData as WorkerOptions
const opened = openWriter(options)

/** The message, and all that came after it, in order. */
const waiting = (first: Request<WriteRequest>): ReadonlyArray<Request<WriteRequest>> => {
  const requests = [first]
  for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
    requests.push(next.message as Request<WriteRequest>)
  }
  return requests
}

const serve = (writer: Writer): void => {
  let isSweeping = false
  const step = (now?: number): void => {
    isSweeping = writer.sweep(now)
    // In steps, so that batches which arrive meanwhile do not wait for all of it.
    if (isSweeping) setImmediate(() => step())
  }

  const append = (requests: ReadonlyArray<Request<AppendRequest>>): void => {
    if (requests.length === 0) return
    const { isBehind, outcomes } = writer.append(requests.map(({ body }) => body))
    port.postMessage(
      outcomes.map((outcome, i): Response =>
        "tail" in outcome
          ? { id: requests[i]!.id, value: outcome.tail }
          : { id: requests[i]!.id, failure: outcome.failure }
      )
    )
    if (isBehind && !isSweeping) step()
  }

  const answer = (id: number, f: () => unknown): void => {
    let response: Response
    try {
      response = { id, value: f() }
    } catch (cause) {
      response = { id, failure: failureOf(options.path, cause) }
    }
    port.postMessage([response])
  }

  port.on("message", (message: Request<WriteRequest>) => {
    let batches: Array<Request<AppendRequest>> = []
    for (const { body, id } of waiting(message)) {
      if (body._tag === "append") {
        batches.push({ id, body })
        continue
      }
      append(batches)
      batches = []
      switch (body._tag) {
        case "marks":
          answer(id, () => writer.marksOf(body.producer))
          break
        case "saveMarks":
          answer(id, () => writer.saveMarks(body.marks))
          break
        case "checkpoint":
          answer(id, () => writer.checkpoint())
          break
        case "sweep":
          if (!isSweeping) step(body.now)
          break
        case "close":
          answer(id, () => writer.close())
          port.close()
          return
      }
    }
    append(batches)
  })
}

if ("failed" in opened) {
  port.postMessage({ failed: opened.failed } satisfies Greeting<Opened>)
  port.close()
} else {
  serve(new Writer(opened.db, options.path, options.retention))
  port.postMessage({ opened: opened.state } satisfies Greeting<Opened>)
}
