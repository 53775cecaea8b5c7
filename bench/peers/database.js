// The connections: as many as Runglass has, each of which sends the next statement before the last is answered.

import pg from 'pg'

const INT8 = 20
const NUMERIC = 1700
const TIMESTAMPTZ = 1184
pg.types.setTypeParser(INT8, Number)
pg.types.setTypeParser(NUMERIC, Number)
// '2026-11-24 06:20:39.123456+00' to '2026-11-24T06:20:39.123456+00:00'
pg.types.setTypeParser(TIMESTAMPTZ, (text) => `${text.slice(0, 10)}T${text.slice(11)}:00`)

const clients = Array.from({ length: Number(process.env.POOL_SIZE) }, () => {
  const client = new pg.Client({ application_name: 'bench', options: '-c TimeZone=UTC', pipeline: true })
  client.waiting = 0
  return client
})
await Promise.all(clients.map((client) => client.connect()))

// PostgreSQL cuts names after 63 bytes; a short one is also cheaper to send.
const names = new Map()

export async function query (key, text, values) {
  let name = names.get(key)
  if (!name) names.set(key, (name = `s${names.size}`))
  let free = clients[0]
  for (const client of clients) if (client.waiting < free.waiting) free = client
  free.waiting++
  try {
    return (await free.query({ name, text, values, rowMode: 'array' })).rows
  } finally {
    free.waiting--
  }
}
