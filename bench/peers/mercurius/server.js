'use strict'

// The same part of the API on mercurius with graphql-jit and pg, each resolver written by hand for speed:
// rows become the answer's objects in one step, times stay the text that PostgreSQL sends, statements are
// named (prepared once a connection) and rows come as arrays. Days are those of UTC only.
// PORT, STATEMENTS (a file of SQL), POOL_SIZE and libpq's own PG* variables come from the environment.

const { readFileSync } = require('node:fs')
const fastify = require('fastify')
const { GraphQLScalarType } = require('graphql')
const mercurius = require('mercurius')
const pg = require('pg')

const statements = JSON.parse(readFileSync(process.env.STATEMENTS, 'utf8'))

const INT8 = 20
const TIMESTAMPTZ = 1184
pg.types.setTypeParser(INT8, Number)
// '2026-11-24 06:20:39.123456+00' to '2026-11-24T06:20:39.123456+00:00'
pg.types.setTypeParser(TIMESTAMPTZ, (text) => `${text.slice(0, 10)}T${text.slice(11)}:00`)

const size = Number(process.env.POOL_SIZE)
const settings = { application_name: 'bench_mercurius', options: '-c TimeZone=UTC' }
const pool = new pg.Pool({ ...settings, max: size, idleTimeoutMillis: 0 })

// A request of one statement is fastest on the pool; the seven of a dashboard are 15 % cheaper on connections that
// send the next statement before the last is answered.
const pipelines = Array.from({ length: size }, () => new pg.Client({ ...settings, pipeline: true }))
for (const client of pipelines) {
  client.waiting = 0
  client.connect()
}

async function pipelined (query) {
  let free = pipelines[0]
  for (const client of pipelines) if (client.waiting < free.waiting) free = client
  free.waiting++
  try {
    return await free.query(query)
  } finally {
    free.waiting--
  }
}

async function run (name, site, values) {
  const full = name + (site == null ? '_all' : '_one')
  const { numbered, names } = statements[full]
  const ordered = names.map((value) => (value.endsWith('scope_site') ? site : values[value]))
  const result = await pipelined({ name: full, text: numbered, values: ordered, rowMode: 'array' })
  return result.rows
}

// The number of rows is part of the text, so that the plan is made once.
const lists = Array.from({ length: 102 }, (_, limit) => ({
  name: `list_${limit}`,
  text: statements.list_all.numbered.replace('{limit}', limit),
  rowMode: 'array'
}))

const RUN_STATUS = {
  pending: 'PENDING',
  running: 'RUNNING',
  success: 'SUCCESS',
  failed: 'FAILED',
  timeout: 'TIMEOUT',
  circuit_open: 'CIRCUIT_OPEN'
}
const ALERT_STATUS = { pending: 'PENDING', acknowledged: 'ACKNOWLEDGED', ignored: 'IGNORED' }
const FINISHED = ['success', 'failed', 'timeout', 'circuit_open']
const DAY = 86_400_000
const BIN_GROWTH = 1.1

function printCursor (id, createdAt) {
  return Buffer.from(`run:${createdAt}:${id}`, 'latin1').toString('base64url')
}

function printTime (milliseconds) {
  return new Date(milliseconds).toISOString().replace('.000Z', '+00:00')
}

function today () {
  return Math.floor(Date.now() / DAY) * DAY
}

function monthStart (day, months) {
  const date = new Date(day)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + months, 1)
}

function range (bounds) {
  // All bounds are midnights of UTC, so that whole days are summed and there are no edges.
  const shown = bounds.map(printTime)
  const all = `{${shown.join(',')}}`
  return {
    bounds: all,
    days: all,
    periods: bounds.length - 1,
    first: shown[0],
    first_day: shown[0],
    last: shown[shown.length - 1],
    last_day: shown[shown.length - 1],
    edge_periods: '{}',
    edge_levels: '{}',
    edge_hours: '{}',
    edge_parts: '{}',
    edge_signs: '{}',
    edge_signs_of_one: '{}'
  }
}

function lastDays (days) {
  const end = today() + DAY
  return Array.from({ length: days + 1 }, (_, index) => end - (days - index) * DAY)
}

function successRate (calls) {
  let finished = 0
  for (const status of FINISHED) finished += calls[status] ?? 0
  return finished ? (calls.success ?? 0) / finished : null
}

function valueAt (bins, rank) {
  for (const [number, count] of bins) {
    if (rank < count) return number ? (2 * BIN_GROWTH ** (number - 1)) / (1 + BIN_GROWTH) : 0
    rank -= count
  }
}

function percentile (bins, fraction) {
  let calls = 0
  for (const bin of bins) calls += bin[1]
  if (!calls) return null
  const rank = fraction * (calls - 1)
  const below = valueAt(bins, Math.floor(rank))
  return below + (valueAt(bins, Math.ceil(rank)) - below) * (rank - Math.floor(rank))
}

function periodBudget (used, limit, resetsAt) {
  return {
    used,
    limit,
    ratio: limit ? used / limit : null,
    remaining: Math.max(0, limit - used),
    resetsAt: printTime(resetsAt)
  }
}

function edgeOf (row) {
  const [id, siteId, appType, model, word, tokensUsed, latencyMs, memberId, createdAt] = row
  const status = RUN_STATUS[word] ?? 'UNKNOWN'
  const node = { id: `run_${id}`, siteId, appType, model, status, tokensUsed, latencyMs, memberId, createdAt }
  return { cursor: printCursor(id, createdAt), node }
}

async function runLogs (_root, { first = 20 }) {
  if (!(first >= 1 && first <= 100)) throw new Error('first must be between 1 and 100')
  const { rows } = await pool.query(lists[first + 1])
  const hasNextPage = rows.length > first
  if (hasNextPage) rows.pop()
  const edges = rows.map(edgeOf)
  return { edges, pageInfo: { hasNextPage, endCursor: edges.length ? edges[edges.length - 1].cursor : null } }
}

const blocks = {
  async today ({ site }) {
    const day = today()
    const rows = await run('usage_by_period', site, range([day, day + DAY]))
    const calls = {}
    let [all, tokens, timed, sum] = [0, 0, 0, 0]
    for (const [, word, count, used, timedCalls, latencySum] of rows) {
      calls[word] = count
      all += count
      tokens += used
      timed += timedCalls
      sum += latencySum
    }
    const byStatus = rows
      .sort((a, b) => b[2] - a[2] || (a[1] < b[1] ? -1 : 1))
      .map(([, word, count]) => ({ status: RUN_STATUS[word] ?? 'UNKNOWN', statusText: word, calls: count }))
    const averageLatencyMs = timed ? sum / timed : null
    return { site, calls: all, tokens, successRate: successRate(calls), averageLatencyMs, byStatus }
  },

  async trend ({ site }, { days = 7 }) {
    const bounds = lastDays(days)
    const rows = await run('usage_by_period', site, range(bounds))
    const found = bounds.slice(0, -1).map((day) => ({ day, calls: {}, all: 0, tokens: 0 }))
    for (const [period, word, calls, tokens] of rows) {
      found[period].calls[word] = calls
      found[period].all += calls
      found[period].tokens += tokens
    }
    return found.map(({ day, calls, all, tokens }) => ({
      date: new Date(day).toISOString().slice(0, 10),
      calls: all,
      tokens,
      successRate: successRate(calls)
    }))
  },

  async appDistribution ({ site }, { days = 7 }) {
    const bounds = lastDays(days)
    const rows = await run('usage_by_app', site, range([bounds[0], bounds[days]]))
    let total = 0
    for (const row of rows) total += row[1]
    rows.sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    return rows.map(([appType, count, tokens]) => ({ appType, count, tokens, share: count / total }))
  },

  async appHealth ({ site }) {
    const rows = await run('latest_runs', site, {})
    rows.sort((a, b) => (a[0] < b[0] ? -1 : 1))
    return rows.map(([appType, word, lastCallAt]) => ({
      appType,
      lastStatus: RUN_STATUS[word] ?? 'UNKNOWN',
      lastStatusText: word,
      lastCallAt
    }))
  },

  async budget ({ site }) {
    const day = today()
    const bounds = [monthStart(day, 0), day, day + DAY, monthStart(day, 1)]
    const rows = await run('usage_by_period', site, range(bounds))
    const used = [0, 0, 0]
    for (const row of rows) used[row[0]] += row[3]
    return {
      timeZone: 'UTC',
      daily: periodBudget(used[1], 100_000, bounds[2]),
      monthly: periodBudget(used[0] + used[1] + used[2], 2_000_000, bounds[3])
    }
  },

  async recentAlerts ({ site }) {
    const rows = await run('recent_alerts', site, { limit: 10, longest_text: 2000 })
    const late = (a, b) => (a[10] === b[10] ? b[0] - a[0] : a[10] < b[10] ? 1 : -1)
    rows.sort((a, b) => (b[7] === 'pending') - (a[7] === 'pending') || late(a, b))
    return rows.slice(0, 10).map((row) => ({
      id: `alert_${row[0]}`,
      siteId: row[1],
      appType: row[2],
      triggerType: row[3],
      memberId: row[4],
      runStatus: RUN_STATUS[row[5]] ?? 'UNKNOWN',
      errorMessage: row[6],
      alertStatus: ALERT_STATUS[row[7]] ?? 'UNKNOWN',
      alertChangedBy: row[8],
      alertChangedAt: row[9],
      createdAt: row[10]
    }))
  }
}

async function latency ({ site }) {
  const day = today()
  const bins = await run('latency_bins', site, range([day, day + DAY]))
  bins.sort((one, other) => one[0] - other[0])
  return { p50: percentile(bins, 0.5), p95: percentile(bins, 0.95), p99: percentile(bins, 0.99) }
}

const asItIs = (name) => new GraphQLScalarType({ name, serialize: (value) => value })

const resolvers = {
  BigInt: asItIs('BigInt'),
  DateTime: asItIs('DateTime'),
  Date: asItIs('Date'),
  Query: {
    runLogs,
    dashboard: (_root, { siteId }) => ({ site: siteId, siteId, timeZone: 'UTC' })
  },
  Dashboard: blocks,
  Today: { latency }
}

const app = fastify({ logger: false, keepAliveTimeout: 0 })
app.register(mercurius, {
  schema: readFileSync(`${__dirname}/schema.graphql`, 'utf8'),
  resolvers,
  jit: 1,
  graphiql: false,
  // The resolvers already give what the scalars and enums print.
  compilerOptions: { disableLeafSerialization: true, disablingCapturingStackErrors: true }
})
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => process.exit(0))
app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
