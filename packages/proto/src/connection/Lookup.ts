/**
 * Questions about topics: who owns one, how many partitions it has, which there are, their schemas; and watchers of namespaces.
 *
 * @since 0.1.0
 */
import { Type } from "../wire/Commands.ts"
import type { BaseCommand } from "../wire/gen/PulsarApi_pb.ts"
import {
  CommandGetTopicsOfNamespace_Mode,
  CommandLookupTopicResponse_LookupType,
  CommandPartitionedTopicMetadataResponse_LookupType
} from "../wire/gen/PulsarApi_pb.ts"
import { truncate } from "./Events.ts"
import type { PendingRequest } from "./Requests.ts"
import type { OnOutcome, Session } from "./Session.ts"

/** @category models @since 0.1.0 */
export type LookupAnswer =
  | {
    readonly _tag: "Connect"
    readonly url: string | undefined
    readonly urlTls: string | undefined
    readonly throughProxy: boolean
  }
  | {
    readonly _tag: "Redirect"
    readonly url: string | undefined
    readonly urlTls: string | undefined
    readonly authoritative: boolean
  }
  | { readonly _tag: "Failed"; readonly code: number; readonly message: string }

const text = (value: string | undefined): string | undefined => value === undefined || value === "" ? undefined : value

/** Reads a LOOKUP_RESPONSE. @category codecs @since 0.1.0 */
export const readLookup = ({ lookupTopicResponse: response }: BaseCommand): LookupAnswer => {
  if (response === undefined || !Object.hasOwn(response, "response")) {
    return {
      _tag: "Failed",
      code: response?.error ?? 0,
      message: truncate(response?.message ?? "no answer in the response")
    }
  }
  const url = text(response.brokerServiceUrl)
  const urlTls = text(response.brokerServiceUrlTls)
  switch (response.response) {
    case CommandLookupTopicResponse_LookupType.Connect:
      return { _tag: "Connect", url, urlTls, throughProxy: response.proxyThroughServiceUrl }
    case CommandLookupTopicResponse_LookupType.Redirect:
      return {
        _tag: "Redirect",
        url,
        urlTls,
        authoritative: Object.hasOwn(response, "authoritative") ? response.authoritative : true
      }
    default:
      return { _tag: "Failed", code: response.error, message: truncate(response.message) }
  }
}

/** Reads a PARTITIONED_METADATA_RESPONSE: the number of partitions, 0 for none. @category codecs @since 0.1.0 */
export const readPartitions = (
  { partitionMetadataResponse: response }: BaseCommand
): number | { readonly code: number; readonly message: string } => {
  if (
    response === undefined || response.response === CommandPartitionedTopicMetadataResponse_LookupType.Failed ||
    (Object.hasOwn(response, "error") && !Object.hasOwn(response, "partitions"))
  ) {
    return { code: response?.error ?? 0, message: truncate(response?.message ?? "no partitions in the response") }
  }
  return response.partitions
}

export class Lookups {
  readonly #session: Session
  #watcher = 0
  readonly #watchers = new Set<number>()

  constructor(session: Session) {
    this.#session = session
  }

  topic(
    now: number,
    topic: string,
    authoritative: boolean,
    listener: string | undefined,
    onDone: OnOutcome
  ): PendingRequest {
    return this.#session.request(now, { _tag: "Plain" }, (requestId) => ({
      type: Type.LOOKUP,
      lookupTopic: {
        topic,
        requestId,
        authoritative,
        ...(listener === undefined ? {} : { advertisedListenerName: listener })
      }
    }), onDone)
  }

  partitions(now: number, topic: string, create: boolean, onDone: OnOutcome): PendingRequest {
    return this.#session.request(now, { _tag: "Plain" }, (requestId) => ({
      type: Type.PARTITIONED_METADATA,
      partitionMetadata: { topic, requestId, metadataAutoCreationEnabled: create }
    }), onDone)
  }

  topicsOfNamespace(
    now: number,
    namespace: string,
    mode: "persistent" | "non-persistent" | "all",
    pattern: string | undefined,
    onDone: OnOutcome
  ): PendingRequest {
    const modes = CommandGetTopicsOfNamespace_Mode
    return this.#session.request(now, { _tag: "Plain" }, (requestId) => ({
      type: Type.GET_TOPICS_OF_NAMESPACE,
      getTopicsOfNamespace: {
        requestId,
        namespace,
        mode: mode === "persistent" ? modes.PERSISTENT : mode === "all" ? modes.ALL : modes.NON_PERSISTENT,
        ...(pattern === undefined ? {} : { topicsPattern: pattern })
      }
    }), onDone)
  }

  schema(now: number, topic: string, version: Uint8Array | undefined, onDone: OnOutcome): PendingRequest {
    return this.#session.request(now, { _tag: "Plain" }, (requestId) => ({
      type: Type.GET_SCHEMA,
      getSchema: { requestId, topic, ...(version === undefined ? {} : { schemaVersion: version }) }
    }), onDone)
  }

  /** Watches a namespace; the id names the watcher in `TopicListChanged`. */
  watch(now: number, namespace: string, pattern: string, hash: string | undefined, onDone: OnOutcome): number {
    const watcherId = this.#watcher++
    this.#watchers.add(watcherId)
    this.#session.request(now, { _tag: "Plain" }, (requestId) => ({
      type: Type.WATCH_TOPIC_LIST,
      watchTopicList: {
        requestId,
        watcherId: BigInt(watcherId),
        namespace,
        topicsPattern: pattern,
        ...(hash === undefined ? {} : { topicsHash: hash })
      }
    }), onDone)
    return watcherId
  }

  unwatch(now: number, watcherId: number): void {
    if (!this.#watchers.delete(watcherId)) return
    this.#session.request(now, { _tag: "Plain" }, (requestId) => ({
      type: Type.WATCH_TOPIC_LIST_CLOSE,
      watchTopicListClose: { requestId, watcherId: BigInt(watcherId) }
    }))
  }

  changed({ watchTopicUpdate: update }: BaseCommand): void {
    if (update === undefined || !this.#watchers.has(Number(update.watcherId))) return
    this.#session.events.push({
      _tag: "TopicListChanged",
      watcherId: Number(update.watcherId),
      added: update.newTopics,
      removed: update.deletedTopics,
      hash: update.topicsHash
    })
  }

  reset(): void {
    this.#watchers.clear()
  }
}
