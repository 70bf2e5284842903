/**
 * SUBSCRIBE, FLOW, ACK, REDELIVER, SEEK, UNSUBSCRIBE, CLOSE_CONSUMER and what a consumer asks about itself.
 */
import { Api, Commands } from "@perigee/proto/wire"
import { fail, isFailure } from "../Failure.ts"
import type { Position } from "../Log.ts"
import type { AttachedConsumer, Session } from "../Session.ts"
import type { SubscriptionType } from "../Subscription.ts"
import { openTopic, storedSchema } from "./Opening.ts"

const TYPES: Readonly<Record<number, SubscriptionType>> = {
  [Api.CommandSubscribe_SubType.Exclusive]: "Exclusive",
  [Api.CommandSubscribe_SubType.Shared]: "Shared",
  [Api.CommandSubscribe_SubType.Failover]: "Failover",
  [Api.CommandSubscribe_SubType.Key_Shared]: "Key_Shared"
}

const pairs = (values: ReadonlyArray<Api.KeyValue>): ReadonlyArray<readonly [string, string]> =>
  values.map(({ key, value }) => [key, value] as const)

/** Sentinels of the wire are read as signed numbers. */
const position = (id: Api.MessageIdData): Position => ({
  ledger: Number(BigInt.asIntN(64, id.ledgerId)),
  entry: Number(BigInt.asIntN(64, id.entryId))
})

const wireId = (id: Position) => ({
  ledgerId: BigInt.asUintN(64, BigInt(id.ledger)),
  entryId: BigInt.asUintN(64, BigInt(id.entry))
})

export const subscribe = (session: Session, command: Api.CommandSubscribe): void => {
  const { cluster } = session
  const { requestId } = command
  const id = Number(command.consumerId)
  const type = TYPES[command.subType] ?? "Exclusive"
  const topic = openTopic(session, command.topic, command.forceTopicCreation)
  if (isFailure(topic)) return session.error(requestId, topic)
  // A request that is repeated on the same connection finds its consumer there.
  if (session.consumers.has(id)) return session.success(requestId)
  if (command.readCompacted && type !== "Exclusive" && type !== "Failover") {
    return session.error(
      requestId,
      fail("NotAllowedError", "readCompacted only allowed on failover or exclusive subscriptions")
    )
  }
  const schema = storedSchema(command.topic, command.schema)
  if (schema !== undefined) {
    const { schemaCompatibility } = cluster.policies
    const admitted = topic.schemas.size === 0 ? topic.schemas.admit(schema, schemaCompatibility) : undefined
    if (isFailure(admitted)) return session.error(requestId, admitted)
    if (admitted === undefined && !topic.schemas.accepts(schema, schemaCompatibility)) {
      return session.error(requestId, fail("IncompatibleSchema", "the consumer's schema cannot read the topic's"))
    }
  }
  const subscription = topic.subscribe({
    name: command.subscription,
    durable: command.durable,
    initial: command.initialPosition === Api.CommandSubscribe_InitialPosition.Earliest ? "Earliest" : "Latest",
    start: command.startMessageId === undefined ? undefined : position(command.startMessageId),
    rollback: Number(command.startMessageRollbackDurationSec) * 1000,
    readCompacted: command.readCompacted,
    properties: pairs(command.subscriptionProperties),
    maxUnacked: cluster.limits.maxUnacked
  }, cluster.now)
  if (isFailure(subscription)) return session.error(requestId, subscription)
  if (subscription.consumers.length >= cluster.limits.maxAttached) {
    return session.error(requestId, fail("ConsumerBusy", "Subscription reached max consumers limit"))
  }
  const sticky = command.keySharedMeta?.keySharedMode === Api.KeySharedMode.STICKY
  const consumer = subscription.attach(type, {
    id,
    name: command.consumerName === "" ? `c${session.id}-${id}` : command.consumerName,
    outlet: session,
    priority: command.priorityLevel,
    ranges: sticky ? command.keySharedMeta!.hashRanges.map(({ end, start }) => ({ start, end })) : undefined,
    allowOutOfOrder: command.keySharedMeta?.allowOutOfOrderDelivery ?? false,
    epoch: Object.hasOwn(command, "consumerEpoch") ? command.consumerEpoch : undefined,
    properties: pairs(command.metadata)
  })
  if (isFailure(consumer)) {
    topic.release(subscription)
    return session.error(requestId, consumer)
  }
  session.consumers.set(id, { topic, subscription, consumer })
  session.reply({ type: Commands.Type.SUCCESS, success: { requestId } }, topic.name)
  topic.dispatch(cluster.now)
}

/** A command for a consumer that is not there is ignored, as brokers do: it may be on its way out. */
const find = (session: Session, consumerId: bigint): AttachedConsumer | undefined =>
  session.consumers.get(Number(consumerId))

const withConsumer = (
  session: Session,
  consumerId: bigint,
  requestId: bigint,
  use: (attached: AttachedConsumer) => void
): void => {
  const attached = find(session, consumerId)
  if (attached === undefined) return session.error(requestId, fail("MetadataError", "Consumer not found"))
  use(attached)
}

export const flow = (session: Session, command: Api.CommandFlow): void => {
  const attached = find(session, command.consumerId)
  if (attached === undefined) return
  attached.subscription.flow(attached.consumer, command.messagePermits)
  attached.subscription.dispatch(session.cluster.now)
}

export const acknowledge = (session: Session, command: Api.CommandAck): void => {
  const attached = find(session, command.consumerId)
  if (attached === undefined) return
  const { subscription, topic } = attached
  const cumulative = command.ackType === Api.CommandAck_AckType.Cumulative
  if (cumulative) {
    const id = command.messageId[0]
    // Meaningless where several consumers share the messages: brokers answer and do nothing.
    if (id !== undefined && !subscription.delays) {
      const index = topic.log.exact(position(id)) ?? topic.log.find(position(id)) - 1
      subscription.acknowledgeUpTo(index, id.ackSet)
    }
  } else {
    for (const id of command.messageId) {
      const index = topic.log.exact(position(id))
      if (index !== undefined) subscription.acknowledge(index, id.ackSet)
    }
  }
  if (Object.hasOwn(command, "requestId")) {
    session.reply({
      type: Commands.Type.ACK_RESPONSE,
      ackResponse: { consumerId: command.consumerId, requestId: command.requestId }
    }, topic.name)
  }
  topic.dispatch(session.cluster.now)
}

export const redeliver = (session: Session, command: Api.CommandRedeliverUnacknowledgedMessages): void => {
  const attached = find(session, command.consumerId)
  if (attached === undefined) return
  const { consumer, subscription, topic } = attached
  const ids = command.messageIds
  if (Object.hasOwn(command, "consumerEpoch")) consumer.epoch = command.consumerEpoch
  const indexes = ids.flatMap((id) => topic.log.exact(position(id)) ?? [])
  subscription.redeliver(consumer, ids.length === 0 ? undefined : indexes)
  subscription.dispatch(session.cluster.now)
}

export const seek = (session: Session, command: Api.CommandSeek): void =>
  withConsumer(session, command.consumerId, command.requestId, ({ subscription, topic }) => {
    const index = command.messageId === undefined
      ? topic.log.findTime(Number(command.messagePublishTime))
      : topic.log.find(position(command.messageId))
    subscription.closeConsumers(undefined)
    subscription.seek(index)
    session.success(command.requestId)
  })

export const unsubscribe = (session: Session, command: Api.CommandUnsubscribe): void =>
  withConsumer(session, command.consumerId, command.requestId, ({ consumer, subscription, topic }) => {
    if (subscription.consumers.length > 1 && !command.force) {
      return session.error(
        command.requestId,
        fail("MetadataError", "Unconnected or shared consumer attempting to unsubscribe")
      )
    }
    session.consumers.delete(consumer.id)
    subscription.detach(consumer)
    topic.unsubscribe(subscription)
    session.success(command.requestId)
  })

export const close = (session: Session, command: Api.CommandCloseConsumer): void => {
  const attached = find(session, command.consumerId)
  if (attached !== undefined) {
    const { consumer, subscription, topic } = attached
    session.consumers.delete(consumer.id)
    subscription.detach(consumer)
    topic.release(subscription)
    subscription.dispatch(session.cluster.now)
  }
  session.success(command.requestId)
}

export const lastMessageId = (session: Session, command: Api.CommandGetLastMessageId): void =>
  withConsumer(session, command.consumerId, command.requestId, ({ subscription, topic }) => {
    const entry = topic.log.get(topic.log.end - 1)
    const size = entry?.metadata.batchSize
    session.reply({
      type: Commands.Type.GET_LAST_MESSAGE_ID_RESPONSE,
      getLastMessageIdResponse: {
        requestId: command.requestId,
        lastMessageId: {
          ...wireId(entry === undefined ? { ledger: -1, entry: -1 } : entry),
          partition: topic.partition,
          batchIndex: size === undefined ? -1 : size - 1
        },
        consumerMarkDeletePosition: wireId(topic.log.before(subscription.cursor.head))
      }
    })
  })

export const stats = (session: Session, command: Api.CommandConsumerStats): void =>
  withConsumer(session, command.consumerId, command.requestId, ({ consumer, subscription }) =>
    session.reply({
      type: Commands.Type.CONSUMER_STATS_RESPONSE,
      consumerStatsResponse: {
        requestId: command.requestId,
        consumerName: consumer.name,
        availablePermits: BigInt(Math.max(consumer.permits, 0)),
        unackedMessages: BigInt(consumer.unacked),
        blockedConsumerOnUnackedMsgs: consumer.unacked >= subscription.maxUnacked,
        type: subscription.type ?? "Exclusive",
        msgBacklog: BigInt(subscription.backlog)
      }
    }))
