/**
 * PRODUCER, SEND and CLOSE_PRODUCER.
 */
import { Api, Commands, Frame, Metadata } from "@perigee/proto/wire"
import { fail, type Failure, isFailure } from "../Failure.ts"
import { versionBytes } from "../SchemaRegistry.ts"
import type { Session } from "../Session.ts"
import type { AccessMode, Producer, Topic } from "../Topic.ts"
import { openTopic, storedSchema } from "./Opening.ts"

/** -1 in an unsigned field. */
const NONE = 0xffff_ffff_ffff_ffffn

const MODES: Readonly<Record<number, AccessMode>> = {
  [Api.ProducerAccessMode.Shared]: "Shared",
  [Api.ProducerAccessMode.Exclusive]: "Exclusive",
  [Api.ProducerAccessMode.WaitForExclusive]: "WaitForExclusive",
  [Api.ProducerAccessMode.ExclusiveWithFencing]: "ExclusiveWithFencing"
}

export const open = (session: Session, command: Api.CommandProducer): void => {
  const { cluster } = session
  const { requestId } = command
  const id = Number(command.producerId)
  const topic = openTopic(session, command.topic, true)
  if (isFailure(topic)) return session.error(requestId, topic)
  const existing = session.producers.get(id)
  // A request that is repeated on the same connection finds its producer there, whatever else it asks for.
  if (existing !== undefined) {
    return session.reply({
      type: Commands.Type.PRODUCER_SUCCESS,
      producerSuccess: {
        requestId,
        producerName: existing.producer.name,
        lastSequenceId: -1n,
        schemaVersion: new Uint8Array(0),
        producerReady: true
      }
    }, topic.name)
  }
  const schemaVersion = admitSchema(session, topic, command)
  if (isFailure(schemaVersion)) return session.error(requestId, schemaVersion)
  const name = command.producerName === "" ? cluster.nextProducerName(session.node) : command.producerName
  const succeed = (ready: boolean) =>
    session.reply({
      type: Commands.Type.PRODUCER_SUCCESS,
      producerSuccess: {
        requestId,
        producerName: name,
        lastSequenceId: topic.deduplicates ? topic.deduplication.last(name) : -1n,
        schemaVersion: schemaVersion === undefined ? new Uint8Array(0) : versionBytes(schemaVersion),
        ...(producer.topicEpoch === undefined ? {} : { topicEpoch: producer.topicEpoch }),
        producerReady: ready
      }
    }, topic.name)
  const producer: Producer = {
    id,
    name,
    outlet: session,
    mode: MODES[command.producerAccessMode] ?? "Shared",
    userProvidedName: command.userProvidedProducerName,
    epoch: command.epoch,
    topicEpoch: Object.hasOwn(command, "topicEpoch") ? command.topicEpoch : undefined,
    onReady: () => succeed(true),
    onRefused: (failure) => {
      session.forgetProducer(id)
      session.error(requestId, failure)
    }
  }
  const admitted = topic.attach(producer)
  if (isFailure(admitted)) return session.error(requestId, admitted)
  session.producers.set(id, { topic, producer })
  if (command.initialSubscriptionName !== "") {
    topic.subscribe({
      name: command.initialSubscriptionName,
      durable: true,
      initial: "Earliest",
      start: undefined,
      rollback: 0,
      readCompacted: false,
      properties: [],
      maxUnacked: cluster.limits.maxUnacked
    }, cluster.now)
  }
  if (admitted) succeed(true)
  else if (session.supportsPartialProducer) succeed(false)
}

/** The version of the producer's schema once admitted, `undefined` for a producer without one. */
const admitSchema = (session: Session, topic: Topic, command: Api.CommandProducer): number | undefined | Failure => {
  const schema = storedSchema(command.topic, command.schema)
  return schema === undefined ? undefined : topic.schemas.admit(schema, session.cluster.policies.schemaCompatibility)
}

export const send = (session: Session, command: Commands.Send, section: Uint8Array): void => {
  const { producerId, sequenceId } = command
  const attached = session.producers.get(producerId)
  if (attached === undefined) {
    // A late frame of a producer that the broker closed is harmless; of any other, the client is out of step.
    if (!session.wasClosed(producerId)) session.abort()
    return
  }
  const { producer, topic } = attached
  const payload = Frame.readPayload(section, 0, section.length)
  if (payload.expected !== payload.computed) {
    return session.sendError(producerId, sequenceId, fail("ChecksumError", "Checksum failed on the broker"))
  }
  const metadata = Metadata.read(section, payload.metadataStart, payload.metadataEnd)
  const highest = command.highestSequenceId !== undefined && command.highestSequenceId > sequenceId
    ? command.highestSequenceId
    : undefined
  const published = topic.publish(producer, sequenceId, highest ?? sequenceId, section, metadata, session.cluster.now)
  if (isFailure(published)) return session.sendError(producerId, sequenceId, published)
  const { entry } = published
  session.reply({
    type: Commands.Type.SEND_RECEIPT,
    sendReceipt: {
      producerId: BigInt(producerId),
      sequenceId,
      highestSequenceId: highest ?? NONE,
      messageId: entry === undefined
        ? { ledgerId: NONE, entryId: NONE }
        : { ledgerId: BigInt(entry.ledger), entryId: BigInt(entry.entry) }
    }
  }, topic.name)
}

export const close = (session: Session, command: Api.CommandCloseProducer): void => {
  const id = Number(command.producerId)
  const attached = session.producers.get(id)
  if (attached !== undefined) {
    session.producers.delete(id)
    attached.topic.detachProducer(attached.producer)
  }
  session.success(command.requestId)
}
