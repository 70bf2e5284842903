/**
 * Questions to a worker thread, each answered once: by the thread, or by its end.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Transferable, Worker } from "node:worker_threads"
import { type AdapterError, adapterError } from "../../../Adapter.ts"
import type { Greeting, OpenFailure, Request, Response } from "./protocol.ts"

type Settle = (exit: Exit.Exit<unknown, AdapterError>) => void

export class WorkerLink<Body, Opened> {
  readonly #adapter: string
  readonly #worker: Worker
  readonly #pending = new Map<number, Settle>()
  readonly #greeting = Deferred.makeUnsafe<Opened, OpenFailure>()
  readonly #ended = Deferred.makeUnsafe<void>()
  #nextId = 0
  #dead: string | undefined

  constructor(adapter: string, worker: Worker) {
    this.#adapter = adapter
    this.#worker = worker
    worker.on("message", (message: ReadonlyArray<Response> | Greeting<Opened>) => {
      if (Array.isArray(message)) this.#settle(message as ReadonlyArray<Response>)
      else this.#greet(message as Greeting<Opened>)
    })
    worker.on(
      "error",
      (cause) => this.#end(`its thread failed: ${cause instanceof Error ? cause.message : String(cause)}`)
    )
    worker.on("messageerror", () => this.#end("its thread sent a message that cannot be read"))
    worker.on("exit", (code) => {
      this.#end(`its thread ended with code ${code}`)
      Deferred.doneUnsafe(this.#ended, Exit.void)
    })
  }

  /** The thread's first word. */
  get opened(): Effect.Effect<Opened, OpenFailure> {
    return Deferred.await(this.#greeting)
  }

  get isAlive(): boolean {
    return this.#dead === undefined
  }

  /** Whether the thread has ended. */
  get ended(): Effect.Effect<void> {
    return Deferred.await(this.#ended)
  }

  /**
   * Asks now, answers when resumed. `onAnswer` runs also when nobody waits any more; interruption only stops the waiting.
   */
  ask<A>(
    body: Body,
    transfer: ReadonlyArray<Transferable> = [],
    onAnswer?: (value: A) => void
  ): Effect.Effect<A, AdapterError> {
    return Effect.callback<A, AdapterError>((resume) => {
      if (this.#dead !== undefined) return resume(Effect.fail(this.#failure("Fatal", this.#dead)))
      const id = this.#nextId++
      this.#pending.set(id, (exit) => {
        if (onAnswer !== undefined && Exit.isSuccess(exit)) onAnswer(exit.value as A)
        resume(exit as Exit.Exit<A, AdapterError>)
      })
      this.#worker.postMessage({ id, body } satisfies Request<Body>, transfer)
    })
  }

  /** Says something that has no answer. */
  tell(body: Body): void {
    if (this.#dead === undefined) this.#worker.postMessage({ id: this.#nextId++, body } satisfies Request<Body>, [])
  }

  /** Ends the thread, whatever it is doing. A thread inside a system call ends after it. */
  terminate(): void {
    this.#end("its thread was stopped")
    void this.#worker.terminate()
  }

  #failure(tag: "Transient" | "Fatal", message: string): AdapterError {
    return adapterError(this.#adapter, tag, message)
  }

  #settle(responses: ReadonlyArray<Response>): void {
    for (const response of responses) {
      const settle = this.#pending.get(response.id)
      this.#pending.delete(response.id)
      settle?.(
        "failure" in response
          ? Exit.fail(adapterError(this.#adapter, response.failure.tag, response.failure.message))
          : Exit.succeed(response.value)
      )
    }
  }

  #greet(greeting: Greeting<Opened>): void {
    Deferred.doneUnsafe(
      this.#greeting,
      "opened" in greeting ? Exit.succeed(greeting.opened) : Exit.fail(greeting.failed)
    )
  }

  #end(why: string): void {
    this.#dead ??= why
    Deferred.doneUnsafe(this.#greeting, Exit.fail({ _tag: "Io", detail: why }))
    // What was under way may have been stored: sending it again is safe.
    const failure = Exit.fail(this.#failure("Transient", why))
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    for (const settle of pending) settle(failure)
  }
}
