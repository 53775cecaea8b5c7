-- Roll-ups of biz.ai_run_logs, equal to a recount in every snapshot
-- (docs/decisions/keep-roll-ups-as-deltas-and-folds.md).
-- Writers only append to run_log_deltas; runglass.fold_run_log_deltas moves deltas into the roll-ups, one folder
-- at a time; readers add what is not folded yet. db/usage/rollups.py holds the statements that read.

-- A site, app or status that is NULL in an adopted table is '' here. latency_bin is NULL where a run has no
-- latency; else 0 holds 0 ms and bin n >= 1 holds 1.1^(n-2) < ms <= 1.1^(n-1), so that 2 * 1.1^(n-1) / 2.1 is
-- within 4.8 % of every value in it.
CREATE TABLE runglass.run_log_deltas (
    quarter timestamptz NOT NULL,
    tokens bigint NOT NULL,
    latency_ms_sum bigint NOT NULL,
    calls integer NOT NULL,
    latency_bin smallint,
    site_id text COLLATE "C" NOT NULL,
    app_type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    -- NULL where the cost of a run cannot be known, because its model or one of its counts of tokens is not.
    prompt_tokens bigint,
    completion_tokens bigint,
    model text COLLATE "C",
    batch_id text COLLATE "C"
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_threshold = -1,
    -- Starting workers takes longer than reading what a few seconds leave here.
    parallel_workers = 0
);

-- level says which dimensions are summed away, and '' there: 0 none, 1 app_type, 2 site_id, 3 both.
-- level + 4 marks a row of a day (UTC): its `hour` is the first of the day, and _15, _30 and _45 end the sums of its
-- first 6, 12 and 18 hours (docs/decisions/count-days-beside-hours.md).
-- calls_15, calls_30 and calls_45 count the first 15, 30 and 45 minutes of the hour: zones at half and quarter hours
-- begin their days inside an hour. latency_calls counts the runs that have a latency.
CREATE TABLE runglass.run_usage (
    level smallint NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    app_type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    calls_15 bigint NOT NULL,
    calls_30 bigint NOT NULL,
    calls_45 bigint NOT NULL,
    tokens bigint NOT NULL,
    tokens_15 bigint NOT NULL,
    tokens_30 bigint NOT NULL,
    tokens_45 bigint NOT NULL,
    latency_calls bigint NOT NULL,
    latency_calls_15 bigint NOT NULL,
    latency_calls_30 bigint NOT NULL,
    latency_calls_45 bigint NOT NULL,
    latency_ms_sum bigint NOT NULL,
    latency_ms_sum_15 bigint NOT NULL,
    latency_ms_sum_30 bigint NOT NULL,
    latency_ms_sum_45 bigint NOT NULL,
    PRIMARY KEY (level, site_id, hour, app_type, status)
) WITH (fillfactor = 80, parallel_workers = 0);

-- For rebuilds and retention, which take all levels of some hours.
CREATE INDEX run_usage_hours ON runglass.run_usage
    USING brin (hour) WITH (pages_per_range = 32, autosummarize = on);

-- Sparse histograms: a row per bin that holds a call. level is 1 for one site, 3 for all (site_id '').
CREATE TABLE runglass.run_latency (
    level smallint NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    latency_bin smallint NOT NULL,
    calls bigint NOT NULL,
    calls_15 bigint NOT NULL,
    calls_30 bigint NOT NULL,
    calls_45 bigint NOT NULL,
    PRIMARY KEY (level, site_id, hour, latency_bin)
) WITH (fillfactor = 80, parallel_workers = 0);

CREATE INDEX run_latency_hours ON runglass.run_latency
    USING brin (hour) WITH (pages_per_range = 32, autosummarize = on);

-- Everything ever counted, whatever the hour.
CREATE TABLE runglass.run_totals (
    site_id text COLLATE "C" NOT NULL,
    app_type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    tokens bigint NOT NULL,
    PRIMARY KEY (site_id, app_type, status)
) WITH (fillfactor = 50);
-- So that the apps of every site are found without reading a row for each site, app and status.
CREATE INDEX run_totals_by_app ON runglass.run_totals (app_type);

-- Levels, hours and quarters as in run_usage.
CREATE TABLE runglass.model_usage (
    level smallint NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    app_type text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    calls_15 bigint NOT NULL,
    calls_30 bigint NOT NULL,
    calls_45 bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    prompt_tokens_15 bigint NOT NULL,
    prompt_tokens_30 bigint NOT NULL,
    prompt_tokens_45 bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    completion_tokens_15 bigint NOT NULL,
    completion_tokens_30 bigint NOT NULL,
    completion_tokens_45 bigint NOT NULL,
    PRIMARY KEY (level, site_id, hour, app_type, model)
) WITH (fillfactor = 80, parallel_workers = 0);

CREATE INDEX model_usage_hours ON runglass.model_usage
    USING brin (hour) WITH (pages_per_range = 32, autosummarize = on);

-- The runs of a batch's jobs; model is '' where their cost cannot be known. Kept when the runs of a month are dropped.
CREATE TABLE runglass.batch_usage (
    batch_id text COLLATE "C" NOT NULL,
    quarter timestamptz NOT NULL,
    model text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    PRIMARY KEY (batch_id, quarter, model)
) WITH (fillfactor = 80);

CREATE INDEX batch_usage_quarters ON runglass.batch_usage
    USING brin (quarter) WITH (pages_per_range = 32, autosummarize = on);

-- One row. The roll-ups hold everything from then on; what they hold of earlier times must not be read.
CREATE TABLE runglass.model_usage_start (counted_from timestamptz NOT NULL);
INSERT INTO runglass.model_usage_start VALUES ('infinity');

-- include run_log_counts.sql
-- include run_log_folds.sql
-- include run_log_rebuilds.sql
