/**
 * CONNECT, AUTH_CHALLENGE and AUTH_RESPONSE.
 */
import { type Api, Commands } from "@perigee/proto/wire"
import { fail } from "../Failure.ts"
import type { Session } from "../Session.ts"

export const SERVER_VERSION = "Pulsar Server (perigee test broker)"
const PROTOCOL_VERSION = 21
const decoder = new TextDecoder()

const admits = (session: Session, method: string, data: Uint8Array): boolean => {
  const { tokens } = session.cluster.policies
  return tokens === undefined || (method === "token" && tokens.has(decoder.decode(data)))
}

const refuse = (session: Session) => {
  session.error(0xffff_ffff_ffff_ffffn, fail("AuthenticationError", "Unable to authenticate"))
  session.close()
}

export const connect = (session: Session, command: Api.CommandConnect): void => {
  if (session.state !== "new") return session.abort()
  const { featureFlags } = command
  if (!admits(session, command.authMethodName, command.authData)) return refuse(session)
  session.state = "connected"
  session.supportsPartialProducer = featureFlags?.supportsPartialProducer ?? false
  session.supportsBrokerEntryMetadata = featureFlags?.supportsBrokerEntryMetadata ?? false
  session.reply({
    type: Commands.Type.CONNECTED,
    connected: {
      serverVersion: SERVER_VERSION,
      protocolVersion: Math.min(command.protocolVersion, PROTOCOL_VERSION),
      maxMessageSize: session.cluster.limits.maxMessageSize,
      featureFlags: {
        supportsTopicWatchers: true,
        supportsGetPartitionedMetadataWithoutAutoCreation: true
      }
    }
  })
}

/** Asks the client to prove again who it is, as a broker does before credentials expire. */
export const challenge = (session: Session): void =>
  session.reply({
    type: Commands.Type.AUTH_CHALLENGE,
    authChallenge: {
      serverVersion: SERVER_VERSION,
      protocolVersion: PROTOCOL_VERSION,
      challenge: { authMethodName: "token", authData: new TextEncoder().encode("PulsarAuthRefresh") }
    }
  })

export const authResponse = (session: Session, command: Api.CommandAuthResponse): void => {
  const { response } = command
  if (response === undefined || !admits(session, response.authMethodName, response.authData)) refuse(session)
}
