/** The run's folder of the shared Pulsar broker: that of the client's own tests, when they are part of the run. */
import setup from "../../../../packages/engine/test/support/globalSetup.ts"
import { RUN_FOLDER } from "../../../../packages/engine/test/support/PulsarBroker.ts"

export default async () => process.env[RUN_FOLDER] === undefined ? setup() : undefined
