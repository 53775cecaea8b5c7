// The dashboard by the statements over Runglass's own roll-ups (STATEMENTS, a file). Days are those of UTC.

import { readFileSync } from 'node:fs'
import { query } from './database.js'

const statements = JSON.parse(readFileSync(process.env.STATEMENTS, 'utf8'))

async function run (name, site, values) {
  const full = name + (site == null ? '_all' : '_one')
  const { text, names } = statements[full]
  return query(full, text, names.map((value) => (value.endsWith('scope_site') ? site : values[value])))
}

const RUN_STATUS = {
  pending: 'PENDING',
  running: 'RUNNING',
  success: 'SUCCESS',
  failed: 'FAILED',
  timeout: 'TIMEOUT',
  circuit_open: 'CIRCUIT_OPEN'
}
const FINISHED = ['success', 'failed', 'timeout', 'circuit_open']
const DAY = 86_400_000
const BIN_GROWTH = 1.1

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

async function latency ({ site }) {
  const day = today()
  const bins = await run('latency_bins', site, range([day, day + DAY]))
  bins.sort((one, other) => one[0] - other[0])
  return { p50: percentile(bins, 0.5), p95: percentile(bins, 0.95), p99: percentile(bins, 0.99) }
}

export const dashboardOf = (recentAlerts) => ({ Today: { latency }, Dashboard: {
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

  recentAlerts: ({ site }, _arguments, { caller }) => recentAlerts(caller, site)
} })
