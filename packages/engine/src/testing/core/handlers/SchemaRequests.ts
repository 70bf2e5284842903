/**
 * GET_SCHEMA and GET_OR_CREATE_SCHEMA.
 */
import { Api, Commands } from "@perigee/proto/wire"
import { isFailure } from "../Failure.ts"
import { versionBytes, versionOf } from "../SchemaRegistry.ts"
import type { Session } from "../Session.ts"
import * as TopicName from "../TopicName.ts"
import { openTopic, storedSchema } from "./Opening.ts"

export const get = (session: Session, command: Api.CommandGetSchema): void => {
  const { requestId } = command
  const topic = session.cluster.topics.get(TopicName.normalise(command.topic) ?? "")
  const version = command.schemaVersion.length === 0 ? topic?.schemas.latest : versionOf(command.schemaVersion)
  const schema = version === undefined ? undefined : topic?.schemas.get(version)
  session.reply({
    type: Commands.Type.GET_SCHEMA_RESPONSE,
    getSchemaResponse: schema === undefined || version === undefined
      ? { requestId, errorCode: Api.ServerError.TopicNotFound, errorMessage: "Topic not found or no-schema" }
      : {
        requestId,
        schema: {
          name: schema.name,
          type: schema.type as Api.Schema_Type,
          schemaData: schema.data,
          properties: schema.properties.map(([key, value]) => ({ key, value }))
        },
        schemaVersion: versionBytes(version)
      }
  })
}

export const getOrCreate = (session: Session, command: Api.CommandGetOrCreateSchema): void => {
  const { requestId } = command
  const topic = openTopic(session, command.topic, true)
  const schema = storedSchema(command.topic, command.schema)
  const version = isFailure(topic)
    ? topic
    : schema === undefined
    ? undefined
    : topic.schemas.admit(schema, session.cluster.policies.schemaCompatibility)
  session.reply({
    type: Commands.Type.GET_OR_CREATE_SCHEMA_RESPONSE,
    getOrCreateSchemaResponse: isFailure(version)
      ? { requestId, errorCode: Api.ServerError[version.code], errorMessage: version.message }
      : { requestId, schemaVersion: version === undefined ? new Uint8Array(0) : versionBytes(version) }
  })
}
