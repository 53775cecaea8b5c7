// mercurius with graphql-jit on fastify. PORT comes from the environment.

import fastify from 'fastify'
import mercurius from 'mercurius'
import { Context, callerOf, schema } from './resolvers.js'

const app = fastify({ logger: false, keepAliveTimeout: 0 })
app.register(mercurius, {
  schema,
  context: async ({ headers }) => new Context(await callerOf(headers.authorization)),
  jit: 1,
  graphiql: false,
  // The resolvers already give what the scalars and enums print.
  compilerOptions: { disableLeafSerialization: true, disablingCapturingStackErrors: true }
})
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => process.exit(0))
app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
