// The part of the API that the benchmark asks, each resolver written by hand for speed on pg and DataLoader: rows
// become the answer's objects in one step, times stay the text that PostgreSQL sends, statements are named (prepared
// once a connection), and of a table only the columns of the fields that are served are read.
// libpq's own PG* variables, POOL_SIZE, SCHEMA (a file) and STATEMENTS (a file) come from the environment.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import DataLoader from 'dataloader'
import { GraphQLError, buildSchema } from 'graphql'
import { dashboardOf } from './dashboard.js'
import { query } from './database.js'

const LONGEST_TEXT = 2000
const MOST_RUNS = 1000
const EXACT_TOTAL = 10_000
const CALLER_MILLISECONDS = 5_000
const ALERT_WORDS = ['failed', 'timeout', 'circuit_open']
const ALERTS = "status IN ('failed', 'timeout', 'circuit_open')"
const PENDING = "(alert_status IS NULL OR alert_status = 'pending')"

const printed = (words) => Object.fromEntries(words.map((word) => [word, word.toUpperCase()]))
const RUN_STATUS = printed(['pending', 'running', 'success', 'failed', 'timeout', 'circuit_open'])
const JOB_STATUS = printed(['pending', 'running', 'success', 'failed', 'skipped_duplicate', 'cancelled'])
const ALERT_STATUS = printed(['pending', 'acknowledged', 'ignored'])

// Who calls

const callers = new Map()

export async function callerOf (authorization) {
  const known = callers.get(authorization)
  if (known && known.until > Date.now()) return known
  if (!authorization?.startsWith('Bearer ')) throw new GraphQLError('Sign in.')
  const hash = createHash('sha256').update(authorization.slice(7)).digest()
  const rows = await query('caller', `SELECT role, sites, reads_texts, name FROM runglass.api_keys
    WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`, [hash])
  if (!rows.length) throw new GraphQLError('This key is unknown.')
  const [role, sites, readsTexts, name] = rows[0]
  const caller = { role, sites, readsTexts, name, until: Date.now() + CALLER_MILLISECONDS }
  if (callers.size >= 10_000) callers.clear()
  callers.set(authorization, caller)
  return caller
}

function mustChange (caller) {
  if (caller.role === 'viewer') throw new GraphQLError('This needs the role operator.')
}

const sees = (caller, site) => caller.sites === null || caller.sites.includes(site)

export class Context {
  constructor (caller) {
    this.caller = caller
    this.pages = new Map()
  }

  // One loader for each size of a page, as all its parents ask for the same.
  children (kind, size) {
    const key = `${kind.name}${size}`
    let loader = this.pages.get(key)
    if (!loader) {
      loader = new DataLoader((ids) => kind(this.caller, ids, size))
      this.pages.set(key, loader)
    }
    return loader
  }
}

// Ids, cursors, pages

function numberOf (id, kind) {
  const match = /^([a-z]+)_([1-9][0-9]{0,18})$/.exec(id)
  if (match?.[1] !== kind) throw new GraphQLError(`${id} is no id of the expected kind; expected ${kind}_42.`)
  return match[2]
}

function printCursor (id, createdAt) {
  return Buffer.from(`${createdAt}/${id}`, 'latin1').toString('base64url')
}

function parseCursor (cursor) {
  const parts = Buffer.from(cursor, 'base64url').toString('latin1').split('/')
  if (parts.length !== 2) throw new GraphQLError('after is no cursor of this list.')
  return parts
}

function sizeOf (first) {
  const size = first ?? 20
  if (size < 1 || size > 100) throw new GraphQLError('first must be between 1 and 100.')
  return size
}

function pageOf (rows, size, nodeOf, after, source) {
  const hasNextPage = rows.length > size
  if (hasNextPage) rows.length = size
  const edges = rows.map((row) => {
    const node = nodeOf(row)
    return { cursor: printCursor(row[0], node.createdAt), node }
  })
  return {
    edges,
    pageInfo: {
      hasNextPage,
      hasPreviousPage: after != null,
      startCursor: edges.length ? edges[0].cursor : null,
      endCursor: edges.length ? edges[edges.length - 1].cursor : null
    },
    source
  }
}

// Conditions: only the filters that are there become SQL, so that each combination is one prepared statement.

class Where {
  constructor (caller, base = 'TRUE') {
    this.text = base
    this.values = []
    if (caller.sites !== null) this.add('site_id = ANY($)', caller.sites)
  }

  add (condition, value) {
    if (value == null) return this
    this.values.push(value)
    this.text += ` AND ${condition.replace('$', `$${this.values.length}`)}`
    return this
  }

  and (condition) {
    this.text += ` AND ${condition}`
    return this
  }
}

// Words stand in the text, in their own order, so that a partial index can serve them.
function among (column, words, known) {
  const chosen = Object.keys(known).filter((word) => words.includes(known[word]))
  return `${column} IN (${chosen.map((word) => `'${word}'`).join(', ') || 'NULL'})`
}

async function list (table, columns, where, { first, after }, nodeOf) {
  const size = sizeOf(first)
  const source = { table, text: where.text, values: where.values.slice() }
  if (after != null) {
    const [createdAt, id] = parseCursor(after)
    where.values.push(createdAt, id)
    const count = where.values.length
    where.text += ` AND (created_at, id) < ($${count - 1}, $${count})`
  }
  const text = `SELECT ${columns} FROM ${table} WHERE ${where.text} ORDER BY created_at DESC, id DESC LIMIT ${size + 1}`
  return pageOf(await query(text, text, where.values), size, nodeOf, after, source)
}

async function totalCount ({ source: { table, text: where, values } }) {
  const text = `SELECT count(*) FROM (SELECT FROM ${table} WHERE ${where} LIMIT ${EXACT_TOTAL + 1}) AS matching`
  const [[count]] = await query(text, text, values)
  return { count: Math.min(count, EXACT_TOTAL), isExact: count <= EXACT_TOTAL }
}

// Runs

const RUNS = 'biz.ai_run_logs'
const RUN_COLUMNS = 'id, site_id, app_type, model, status, tokens_used, latency_ms, member_id, created_at'

const runOf = ([id, siteId, appType, model, status, tokensUsed, latencyMs, memberId, createdAt]) => ({
  id: `run_${id}`,
  siteId,
  appType,
  model,
  status: RUN_STATUS[status] ?? 'UNKNOWN',
  tokensUsed,
  latencyMs,
  memberId,
  createdAt
})

function runLogs (_root, { filter, ...page }, { caller }) {
  const where = new Where(caller)
  if (filter) {
    where.add('site_id = $', filter.siteId).add('app_type = $', filter.appType).add('member_id = $', filter.memberId)
    if (filter.status) where.and(among('status', filter.status, RUN_STATUS))
  }
  return list(RUNS, RUN_COLUMNS, where, page, runOf)
}

async function runLog (_root, { id }, { caller }) {
  const where = new Where(caller).add('id = $', numberOf(id, 'run'))
  const text = `SELECT ${RUN_COLUMNS}, session_id, trigger_type, prompt_tokens, completion_tokens, error_message,
    finished_at, request_prompt, response_text FROM ${RUNS} WHERE ${where.text}`
  const [row] = await query('run', text, where.values)
  if (!row) return null
  return {
    ...runOf(row),
    sessionId: row[9],
    triggerType: row[10],
    promptTokens: row[11],
    completionTokens: row[12],
    errorMessage: row[13],
    finishedAt: row[14],
    requestPrompt: row[15],
    responseText: row[16]
  }
}

const mayReadTexts = (field) => (run, _arguments, { caller }) => {
  if (!caller.readsTexts) throw new GraphQLError('This needs the permission to read texts.')
  return run[field]
}

async function runsOfJobs (caller, ids, size) {
  const where = new Where(caller, 'trigger_job_id = job.id')
  where.values.push(ids)
  const text = `SELECT run.*, job.id FROM unnest($${where.values.length}::bigint[]) AS job(id) CROSS JOIN LATERAL (
    SELECT ${RUN_COLUMNS} FROM ${RUNS} WHERE ${where.text} ORDER BY created_at DESC, id DESC LIMIT ${size + 1}) AS run`
  return grouped(await query(text, text, where.values), ids, 9, size, runOf)
}

function grouped (rows, ids, parent, size, nodeOf) {
  const found = new Map(ids.map((id) => [id, []]))
  for (const row of rows) found.get(row[parent]).push(row)
  return ids.map((id) => pageOf(found.get(id), size, nodeOf))
}

// Alerts

const ALERT_COLUMNS = `id, site_id, app_type, trigger_type, member_id, status, left(error_message, ${LONGEST_TEXT}),
  coalesce(alert_status, 'pending'), alert_changed_by, alert_changed_at, created_at`

const alertOf = (row) => ({
  __typename: 'Alert',
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
})

function alerts (_root, { filter, ...page }, { caller }) {
  const where = new Where(caller, ALERTS)
  if (filter) {
    where.add('site_id = $', filter.siteId).add('app_type = $', filter.appType)
    if (filter.alertStatus) {
      const words = among('alert_status', filter.alertStatus, ALERT_STATUS)
      where.and(filter.alertStatus.includes('PENDING') ? (filter.alertStatus.length === 1 ? PENDING : `(${PENDING} OR ${words})`) : words)
    }
  }
  return list(RUNS, ALERT_COLUMNS, where, page, alertOf)
}

export async function recentAlerts (caller, site) {
  const where = new Where(caller, `${ALERTS} AND ${PENDING}`).add('site_id = $', site)
  const newest = async (base) => {
    const text = `SELECT ${ALERT_COLUMNS} FROM ${RUNS} WHERE ${base} ORDER BY created_at DESC, id DESC LIMIT 10`
    return (await query(text, text, where.values)).map(alertOf)
  }
  const pending = await newest(where.text)
  if (pending.length === 10) return pending
  const others = await newest(where.text.replace(PENDING, 'TRUE'))
  return [...pending, ...others.filter((alert) => alert.alertStatus !== 'PENDING')].slice(0, 10)
}

const setAlert = (word) => async (_root, { input }, { caller }) => {
  mustChange(caller)
  const where = new Where(caller, ALERTS).add('id = $', numberOf(input.alertId, 'alert'))
  const found = where.text
  const foundValues = where.values.slice()
  where.add("coalesce(alert_status, 'pending') <> $", word)
  where.values.push(caller.name)
  const text = `UPDATE ${RUNS} SET alert_status = '${word}', alert_changed_by = $${where.values.length},
    alert_changed_at = now() WHERE ${where.text} RETURNING ${ALERT_COLUMNS}`
  const [row] = await query(text, text, where.values)
  if (row) return alertOf(row)
  const known = await query(`alert${found}`, `SELECT FROM ${RUNS} WHERE ${found}`, foundValues)
  if (known.length) return refusal('Conflict', 'CONFLICT', `This alert is already ${word}.`)
  return refusal('NotFound', 'NOT_FOUND', 'There is no such alert.')
}

const refusal = (type, code, message) => ({ __typename: type, code, message })

// Jobs and batches

const JOBS = 'biz.ai_trigger_jobs'
const JOB_COLUMNS = `id, site_id, event_type, member_id, to_json(app_chain), status, coalesce(attempt, 1), created_at,
  started_at, finished_at`

const jobOf = ([id, siteId, eventType, memberId, appChain, status, attempt, createdAt, startedAt, finishedAt]) => ({
  key: id,
  id: `job_${id}`,
  siteId,
  eventType,
  memberId,
  appChain,
  status: JOB_STATUS[status] ?? 'UNKNOWN',
  statusText: status,
  attempt,
  createdAt,
  startedAt,
  finishedAt
})

function triggerJobs (_root, { filter, ...page }, { caller }) {
  const where = new Where(caller)
  if (filter) {
    where.add('site_id = $', filter.siteId).add('event_type = $', filter.eventType).add('member_id = $', filter.memberId)
    if (filter.status) where.and(among('status', filter.status, JOB_STATUS))
  }
  return list(JOBS, JOB_COLUMNS, where, page, jobOf)
}

async function jobsOfBatches (caller, ids, size) {
  const where = new Where(caller, 'batch_id = batch.id')
  where.values.push(ids)
  const text = `SELECT job.*, batch.id FROM unnest($${where.values.length}::uuid[]) AS batch(id) CROSS JOIN LATERAL (
    SELECT ${JOB_COLUMNS} FROM ${JOBS} WHERE ${where.text} ORDER BY created_at DESC, id DESC LIMIT ${size + 1}) AS job`
  return grouped(await query(text, text, where.values), ids, 10, size, jobOf)
}

async function batch (_root, { id }, { caller }) {
  if (!/^batch_[0-9a-f]{32}$/.test(id)) throw new GraphQLError(`${id} is no id of a batch.`)
  const where = new Where(caller).add('id = $', id.slice(6))
  const text = `SELECT id, site_id, status, to_json(app_types), cardinality(member_ids), estimated_calls,
    estimated_tokens, created_by, created_at, confirmed_by, confirmed_at, started_at, finished_at, jobs_succeeded,
    jobs_failed, tokens_used FROM runglass.batches WHERE ${where.text}`
  const [row] = await query('batch', text, where.values)
  if (!row) return null
  return {
    key: row[0],
    id,
    siteId: row[1],
    status: row[2].toUpperCase(),
    appTypes: row[3],
    memberCount: row[4],
    estimatedCalls: row[5],
    estimatedTokens: row[6],
    createdBy: row[7],
    createdAt: row[8],
    confirmedBy: row[9],
    confirmedAt: row[10],
    startedAt: row[11],
    finishedAt: row[12],
    // The benchmark's batch has ended; of one that runs its jobs would be counted.
    progress: { total: row[13] + row[14], pending: 0, running: 0, succeeded: row[13], failed: row[14], tokensUsed: row[15] }
  }
}

// Reports of runs

const NAMES = ['siteId', 'appType', 'externalId', 'triggerType', 'memberId', 'sessionId', 'model']
const COUNTS = ['tokensUsed', 'promptTokens', 'completionTokens', 'latencyMs']
// The ids of others are unique within a site; one that stands there already makes the whole report a conflict.
const INSERT_RUNS = `WITH added AS (
    INSERT INTO ${RUNS} (site_id, app_type, trigger_type, member_id, session_id, request_prompt, response_text,
      tokens_used, prompt_tokens, completion_tokens, latency_ms, status, error_message, model, external_id,
      created_at, finished_at)
    SELECT "siteId", "appType", "triggerType", "memberId", "sessionId", "requestPrompt", "responseText",
      coalesce("tokensUsed", coalesce("promptTokens", 0) + coalesce("completionTokens", 0)), "promptTokens",
      "completionTokens", "latencyMs", lower(status), "errorMessage", model, "externalId",
      coalesce("createdAt", now()), "finishedAt"
    FROM json_to_recordset($1) AS run("siteId" text, "appType" text, "triggerType" text, "memberId" text,
      "sessionId" text, "requestPrompt" text, "responseText" text, "tokensUsed" bigint, "promptTokens" bigint,
      "completionTokens" bigint, "latencyMs" integer, status text, "errorMessage" text, model text,
      "externalId" text, "createdAt" timestamptz, "finishedAt" timestamptz)
    RETURNING id, site_id, external_id, created_at
  ), named AS (
    INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)
    SELECT site_id, external_id, id, created_at FROM added WHERE external_id IS NOT NULL
  )
  SELECT id FROM added`

async function recordRuns (_root, { input: { runs } }, { caller }) {
  mustChange(caller)
  const wrong = (message, field) => ({ ...refusal('InvalidInput', 'INVALID_INPUT', message), field })
  if (runs.length < 1 || runs.length > MOST_RUNS) return wrong(`runs must be 1 to ${MOST_RUNS}.`, 'runs')
  for (const run of runs) {
    if (!sees(caller, run.siteId)) return refusal('NotFound', 'NOT_FOUND', 'There is no such site.')
    for (const name of NAMES) {
      const text = run[name]
      if (text != null && (text.length > 200 || text.trim() !== text)) return wrong(`${name} is no name.`, name)
    }
    for (const name of COUNTS) if (run[name] < 0) return wrong(`${name} must not be negative.`, name)
  }
  try {
    const rows = await query('record', INSERT_RUNS, [JSON.stringify(runs)])
    return { __typename: 'RecordedRuns', runIds: rows.map(([id]) => `run_${id}`), added: rows.length, changed: 0 }
  } catch (error) {
    if (error.code === '23505') return refusal('Conflict', 'CONFLICT', 'A run of that external id is there.')
    throw error
  }
}

const totals = { totalCount }
const resolvers = {
  Query: {
    runLogs,
    runLog,
    alerts,
    triggerJobs,
    batch,
    dashboard (_root, { siteId }, { caller }) {
      if (siteId != null ? !sees(caller, siteId) : caller.sites) throw new GraphQLError('There is no such site.')
      return { site: siteId, siteId, timeZone: 'UTC' }
    }
  },
  Mutation: { recordRuns, ackAlert: setAlert('acknowledged'), reopenAlert: setAlert('pending') },
  RunLog: { requestPrompt: mayReadTexts('requestPrompt'), responseText: mayReadTexts('responseText') },
  TriggerJob: { runLogs: ({ key }, { first }, context) => context.children(runsOfJobs, sizeOf(first)).load(key) },
  Batch: { jobs: ({ key }, { first }, context) => context.children(jobsOfBatches, sizeOf(first)).load(key) },
  RunLogConnection: totals,
  AlertConnection: totals,
  TriggerJobConnection: totals,
  ...dashboardOf(recentAlerts)
}

export const schema = buildSchema(readFileSync(process.env.SCHEMA, 'utf8'))
for (const [type, fields] of Object.entries(resolvers)) {
  for (const [name, resolve] of Object.entries(fields)) schema.getType(type).getFields()[name].resolve = resolve
}
for (const name of ['AlertResult', 'RecordRunsResult']) schema.getType(name).resolveType = (value) => value.__typename
