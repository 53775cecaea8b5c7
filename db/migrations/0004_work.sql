-- Work: which jobs our own workers run, in which order, and how far batches have come.
-- The tables of the engine itself (procrastinate) are installed by db/engine_schema.py.

ALTER TABLE biz.ai_trigger_jobs ADD COLUMN IF NOT EXISTS tokens_used bigint;

-- Counting the jobs of a batch reads this index alone.
CREATE INDEX IF NOT EXISTS trigger_jobs_batch_progress ON biz.ai_trigger_jobs (batch_id, status)
    INCLUDE (tokens_used) WHERE batch_id IS NOT NULL;

ALTER TABLE runglass.batches
    ADD COLUMN started_at timestamptz,
    ADD COLUMN finished_at timestamptz,
    ADD COLUMN cancelled_by text,
    -- The batch whose failed jobs this one repeats.
    ADD COLUMN retry_of_id uuid,
    -- The last of its jobs that has been put into the queue; they are put there a page at a time.
    ADD COLUMN queued_to bigint NOT NULL DEFAULT 0,
    ADD COLUMN is_queued boolean NOT NULL DEFAULT false,
    -- The final counts, once no job waits or runs any more; before that they are counted.
    ADD COLUMN jobs_succeeded integer,
    ADD COLUMN jobs_failed integer,
    ADD COLUMN tokens_used bigint;
-- Batches of before had no jobs that our workers know of.
UPDATE runglass.batches SET is_queued = true WHERE status = 'confirmed';
CREATE INDEX batches_unfinished ON runglass.batches (confirmed_at, id)
    WHERE status IN ('confirmed', 'running', 'cancelled') AND finished_at IS NULL;

CREATE INDEX batches_by_retry_of ON runglass.batches (retry_of_id) WHERE retry_of_id IS NOT NULL;

-- Makes idempotency keys differ between installations that call the same app.
CREATE TABLE runglass.installation (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid()
);
INSERT INTO runglass.installation DEFAULT VALUES;

-- The apps of a chain in order, whatever type an adopted app_chain column has (give it to_jsonb(app_chain)).
CREATE FUNCTION runglass.chain_apps(chain jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_agg(trim(app) ORDER BY place), '{}') FROM (
        SELECT app, place FROM jsonb_array_elements_text(
            CASE WHEN jsonb_typeof(chain) = 'array' THEN chain ELSE '[]' END
        ) WITH ORDINALITY AS listed(app, place)
        UNION ALL
        SELECT app, place FROM regexp_split_to_table(
            CASE WHEN jsonb_typeof(chain) = 'string' THEN chain #>> '{}' ELSE '' END, '\s*(?:,|->|→|>|;|\|)\s*'
        ) WITH ORDINALITY AS written(app, place)
    ) AS apps WHERE trim(app) <> ''
$$;

-- A site and a member as their columns have them (text here; integers where adopted), for set-based inserts.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute
        WHERE attrelid = 'biz.ai_trigger_jobs'::regclass AND attname IN ('site_id', 'member_id')
    LOOP
        EXECUTE format(
            'CREATE FUNCTION runglass.as_%I(value text) RETURNS %s LANGUAGE sql IMMUTABLE AS %L',
            wanted.attname, wanted.type, format('SELECT value::%s', wanted.type)
        );
    END LOOP;
END
$$;

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

-- For services that write jobs into the table themselves: hands a pending job to our workers, in the caller's
-- transaction. Without this, a job stays with whatever dispatcher reads the table.
CREATE FUNCTION runglass.enqueue_job(pending_job bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank)
    SELECT id, site_id::text, runglass.chain_apps(to_jsonb(app_chain)), 0
    FROM biz.ai_trigger_jobs WHERE id = pending_job AND status = 'pending'
    ON CONFLICT DO NOTHING;
    PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[
        ROW('work', 'admit', 100, NULL, NULL, '{}', NULL)::procrastinate.procrastinate_job_to_defer_v1
    ]);
END
$$;
