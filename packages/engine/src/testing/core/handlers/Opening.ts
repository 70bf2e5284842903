/**
 * What producers and consumers have in common when they open.
 */
import { Api } from "@perigee/proto/wire"
import { fail, type Failure } from "../Failure.ts"
import type { StoredSchema } from "../SchemaRegistry.ts"
import type { Session } from "../Session.ts"
import type { Topic } from "../Topic.ts"
import * as TopicName from "../TopicName.ts"

export const openTopic = (session: Session, name: string, create: boolean): Topic | Failure => {
  const topic = TopicName.normalise(name)
  if (topic === undefined) return fail("InvalidTopicName", `Invalid topic name: ${name}`)
  const owner = session.cluster.ownerOf(topic)
  if (owner !== session.node) {
    return fail(
      "ServiceNotReady",
      `Namespace bundle for topic (${topic}) not served by this instance. Please redo the lookup. Request is denied: namespace=${
        TopicName.namespaceOf(topic)
      }`
    )
  }
  return session.cluster.topic(topic, create)
}

/** The schema of a command as it is kept; `undefined` for none, plain bytes, and for whoever takes what comes. */
export const storedSchema = (topic: string, schema: Api.Schema | undefined): StoredSchema | undefined =>
  schema === undefined || schema.type === Api.Schema_Type.None || schema.type === Api.Schema_Type.AutoConsume
    ? undefined
    : {
      // Schemas go by the topic's name, whatever a client calls them.
      name: TopicName.withoutDomain(TopicName.baseOf(TopicName.normalise(topic) ?? topic)),
      type: schema.type,
      data: schema.schemaData,
      properties: schema.properties.map(({ key, value }) => [key, value] as const)
    }
