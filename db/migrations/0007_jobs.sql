-- Work: batches, which jobs our own workers run, in which order, and how far batches have come.
-- The tables of the engine itself (procrastinate) are installed by db/migrations/engine_schema.py.

CREATE TABLE runglass.batches (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    site_id text NOT NULL,
    app_types text[] NOT NULL,
    member_ids text[] NOT NULL,
    status text NOT NULL DEFAULT 'estimated',
    estimated_calls integer NOT NULL,
    estimated_tokens bigint NOT NULL,
    -- One object per app: {app_type, calls, mean_tokens, sample_size}.
    app_estimates jsonb NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    confirmed_by text,
    confirmed_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    cancelled_by text,
    -- The batch whose failed jobs this one repeats.
    retry_of_id uuid,
    -- The last of its jobs that has been put into the queue; they are put there a page at a time.
    queued_to bigint NOT NULL DEFAULT 0,
    is_queued boolean NOT NULL DEFAULT false,
    -- The final counts, once no job waits or runs any more; before that they are counted.
    jobs_succeeded integer,
    jobs_failed integer,
    tokens_used bigint
);
CREATE INDEX batches_newest ON runglass.batches (created_at DESC, id DESC);
CREATE INDEX batches_by_site ON runglass.batches (site_id, created_at DESC, id DESC);
CREATE INDEX batches_unfinished ON runglass.batches (confirmed_at, id)
    WHERE status IN ('confirmed', 'running', 'cancelled') AND finished_at IS NULL;
CREATE INDEX batches_by_retry_of ON runglass.batches (retry_of_id) WHERE retry_of_id IS NOT NULL;

-- Makes idempotency keys differ between installations that call the same app.
CREATE TABLE runglass.installation (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid()
);
INSERT INTO runglass.installation DEFAULT VALUES;

-- One row per job that waits for our workers or runs on one; it goes when the job ends. Of a batch only the
-- next page of jobs is here.
CREATE TABLE runglass.job_queue (
    job_id bigint PRIMARY KEY,
    site_id text NOT NULL,
    app_types text[] NOT NULL,
    batch_id uuid,
    -- 0 what an operator asked for, 1 batches.
    rank smallint NOT NULL,
    -- The engine's job, once the job has been admitted; null while it waits for its turn.
    engine_id bigint,
    -- Which execution holds the job. Whoever finds another one here has lost it and must write nothing more.
    holder uuid,
    cancel_requested boolean NOT NULL DEFAULT false
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX job_queue_waiting ON runglass.job_queue (site_id, app_types, rank, job_id) WHERE engine_id IS NULL;
CREATE INDEX job_queue_by_batch ON runglass.job_queue (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX job_queue_admitted ON runglass.job_queue (engine_id) WHERE engine_id IS NOT NULL;

-- When each site was last given a place, so that sites take turns.
CREATE SEQUENCE runglass.turn;
CREATE TABLE runglass.site_turns (
    site_id text PRIMARY KEY,
    turn bigint NOT NULL
) WITH (fillfactor = 50);

-- The state of an app's circuit breaker, shared by all workers. Closed where there is no row.
CREATE TABLE runglass.app_circuits (
    app_type text PRIMARY KEY,
    failures integer NOT NULL DEFAULT 0,
    opened_until timestamptz
) WITH (fillfactor = 50);

-- Which version of the engine's schema is installed: the names of its migrations that are in effect.
CREATE TABLE runglass.engine_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- include jobs.sql
