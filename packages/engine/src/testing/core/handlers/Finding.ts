/**
 * LOOKUP, PARTITIONED_METADATA, GET_TOPICS_OF_NAMESPACE and the watching of topic lists.
 */
import { Api, Commands } from "@perigee/proto/wire"
import { fail, type Failure, isFailure } from "../Failure.ts"
import type { Session } from "../Session.ts"
import * as TopicName from "../TopicName.ts"
import { hashOf, matcher, type Watcher } from "../Watchers.ts"

const MAX_PATTERN = 1024
const MAX_WATCHERS = 1024

export const lookupFailed = (session: Session, requestId: bigint, failure: Failure): void =>
  session.reply({
    type: Commands.Type.LOOKUP_RESPONSE,
    lookupTopicResponse: {
      requestId,
      response: Api.CommandLookupTopicResponse_LookupType.Failed,
      error: Api.ServerError[failure.code],
      message: failure.message
    }
  })

export const lookup = (session: Session, command: Api.CommandLookupTopic): void => {
  const { requestId } = command
  const topic = TopicName.normalise(command.topic)
  if (topic === undefined) {
    return lookupFailed(session, requestId, fail("InvalidTopicName", `Invalid topic name: ${command.topic}`))
  }
  const answer = session.cluster.lookup?.(topic, session.node)
  const owner = session.cluster.ownerOf(topic)
  if (answer?._tag === "Failed") return lookupFailed(session, requestId, answer.failure)
  if (answer === undefined && owner === undefined) {
    return lookupFailed(session, requestId, fail("ServiceNotReady", "no broker is up"))
  }
  const redirect = answer === undefined ? owner !== session.node : answer._tag === "Redirect"
  session.reply({
    type: Commands.Type.LOOKUP_RESPONSE,
    lookupTopicResponse: {
      requestId,
      response: redirect
        ? Api.CommandLookupTopicResponse_LookupType.Redirect
        : Api.CommandLookupTopicResponse_LookupType.Connect,
      brokerServiceUrl: answer?.serviceUrl ?? owner!.serviceUrl,
      authoritative: answer?.authoritative ?? true,
      proxyThroughServiceUrl: answer?.throughProxy ?? false
    }
  }, topic)
}

export const partitions = (session: Session, command: Api.CommandPartitionedTopicMetadata): void => {
  const topic = TopicName.normalise(command.topic)
  const { requestId } = command
  const respond = (response: { readonly partitions: number } | Failure) =>
    session.reply({
      type: Commands.Type.PARTITIONED_METADATA_RESPONSE,
      partitionMetadataResponse: isFailure(response)
        ? {
          requestId,
          response: Api.CommandPartitionedTopicMetadataResponse_LookupType.Failed,
          error: Api.ServerError[response.code],
          message: response.message
        }
        : {
          requestId,
          response: Api.CommandPartitionedTopicMetadataResponse_LookupType.Success,
          partitions: response.partitions
        }
    }, topic)
  if (topic === undefined) return respond(fail("InvalidTopicName", `Invalid topic name: ${command.topic}`))
  const { autoCreateTopics } = session.cluster.policies
  const known = session.cluster.partitioned.get(topic)
  const exists = known !== undefined || session.cluster.topics.has(topic)
  if (!exists && !(command.metadataAutoCreationEnabled && autoCreateTopics)) {
    return respond(fail("TopicNotFound", `Topic ${topic} does not exist`))
  }
  respond({ partitions: known ?? 0 })
}

export const topicsOfNamespace = (session: Session, command: Api.CommandGetTopicsOfNamespace): void => {
  const matches = command.topicsPattern === "" ? undefined : matcher(command.topicsPattern.slice(0, MAX_PATTERN))
  const persistent = command.mode !== Api.CommandGetTopicsOfNamespace_Mode.NON_PERSISTENT
  const all = persistent ? session.cluster.topicsOf(command.namespace) : []
  const topics = matches === undefined ? all : all.filter(matches)
  const hash = hashOf(topics)
  const changed = command.topicsHash !== hash
  session.reply({
    type: Commands.Type.GET_TOPICS_OF_NAMESPACE_RESPONSE,
    getTopicsOfNamespaceResponse: {
      requestId: command.requestId,
      topics: changed ? [...topics] : [],
      filtered: matches !== undefined,
      topicsHash: hash,
      changed
    }
  })
}

export const watch = (session: Session, command: Api.CommandWatchTopicList): void => {
  const { namespace, requestId, watcherId } = command
  const matches = command.topicsPattern.length > MAX_PATTERN ? undefined : matcher(command.topicsPattern)
  if (matches === undefined || session.watchers.size >= MAX_WATCHERS) {
    return session.error(
      requestId,
      fail("NotAllowedError", "Unable to create topic list watcher: pattern or number of watchers")
    )
  }
  const current = () => session.cluster.topicsOf(namespace).filter(matches)
  const watcher: Watcher = {
    namespace,
    matches,
    current,
    update: (added, removed, hash) =>
      session.reply({
        type: Commands.Type.WATCH_TOPIC_UPDATE,
        watchTopicUpdate: { watcherId, newTopics: [...added], deletedTopics: [...removed], topicsHash: hash }
      })
  }
  const previous = session.watchers.get(watcherId)
  if (previous !== undefined) session.cluster.watchers.delete(previous)
  session.watchers.set(watcherId, watcher)
  session.cluster.watchers.add(watcher)
  const topics = current()
  const hash = hashOf(topics)
  session.reply({
    type: Commands.Type.WATCH_TOPIC_LIST_SUCCESS,
    watchTopicListSuccess: { requestId, watcherId, topic: hash === command.topicsHash ? [] : topics, topicsHash: hash }
  })
}

export const unwatch = (session: Session, command: Api.CommandWatchTopicListClose): void => {
  const watcher = session.watchers.get(command.watcherId)
  if (watcher !== undefined) session.cluster.watchers.delete(watcher)
  session.watchers.delete(command.watcherId)
  session.success(command.requestId)
}
