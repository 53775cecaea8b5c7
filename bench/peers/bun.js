// graphql-jit under Bun's own server. PORT comes from the environment.

import { parse, validate } from 'graphql'
import { compileQuery, isCompiledQuery } from 'graphql-jit'
import { Context, callerOf, schema } from './resolvers.js'

const MOST_DOCUMENTS = 1000
// The resolvers already give what the scalars and enums print.
const options = { disableLeafSerialization: true, disablingCapturingStackErrors: true }
const documents = new Map()

function compiled (query, operationName) {
  const key = operationName ? `${operationName}\n${query}` : query
  let found = documents.get(key)
  if (!found) {
    const document = parse(query)
    const errors = validate(schema, document)
    found = errors.length ? { errors } : compileQuery(schema, document, operationName, options)
    if (documents.size >= MOST_DOCUMENTS) documents.clear()
    documents.set(key, found)
  }
  return found
}

const init = { headers: { 'content-type': 'application/json' } }

async function answer (request) {
  const { query, variables, operationName } = await request.json()
  const context = new Context(await callerOf(request.headers.get('authorization')))
  const found = compiled(query, operationName)
  const result = isCompiledQuery(found) ? await found.query(undefined, context, variables ?? {}) : found
  return new Response(JSON.stringify(result), init)
}

const failure = (error) => new Response(JSON.stringify({ errors: [{ message: String(error.message) }] }), { ...init, status: 400 })

Bun.serve({ hostname: '127.0.0.1', port: Number(process.env.PORT), fetch: answer, error: failure })
