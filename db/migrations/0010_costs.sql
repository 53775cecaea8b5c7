-- What runs used of each model, so that cost can be told without reading them: tokens are counted here, and priced when
-- they are read (docs/decisions/price-counted-tokens-when-they-are-read.md). Kept as the other roll-ups are: writers
-- append to run_log_deltas, folds move deltas here. The rows that are there already are counted by the servers' upkeep,
-- day by day, the newest first, or by `rollup rebuild`.

-- Writers that are under way end before this, later ones wait until it is done: each write is described either by the
-- old functions alone, and its day is counted again, or by the new ones.
LOCK TABLE biz.ai_run_logs IN SHARE ROW EXCLUSIVE MODE;

-- model is NULL where the cost of a run cannot be known, because its model or one of its counts of tokens is not.
ALTER TABLE runglass.run_log_deltas
    ADD COLUMN prompt_tokens bigint,
    ADD COLUMN completion_tokens bigint,
    ADD COLUMN model text COLLATE "C",
    ADD COLUMN batch_id text COLLATE "C";

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

-- One row. Both roll-ups above hold everything from then on, and what they hold of earlier times must not be read.
CREATE TABLE runglass.model_usage_start (counted_from timestamptz NOT NULL);

-- As before, with what a run used of its model, and the batch of its job. A job never leaves its batch.
CREATE OR REPLACE FUNCTION runglass.run_log_deltas_sql(source text, sign integer) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(
        'SELECT date_bin(''15 minutes'', %1$s, ''2000-01-01 00:00:00+00''::timestamptz) AS quarter,'
        ' %2$s * coalesce(tokens_used::bigint, 0) AS tokens,'
        ' %2$s * coalesce(latency_ms::bigint, 0) AS latency_ms_sum,'
        ' %2$s AS calls,'
        ' CASE WHEN latency_ms IS NULL THEN NULL WHEN latency_ms < 1 THEN 0 ELSE 1 +'
        '   ceil(ln(least(latency_ms::float8, 2147483647)) / ln(1.1::float8)) END::smallint AS latency_bin,'
        ' coalesce(site_id::text, '''') COLLATE "C" AS site_id,'
        ' coalesce(app_type::text, '''') COLLATE "C" AS app_type,'
        ' coalesce(status::text, '''') COLLATE "C" AS status,'
        ' CASE WHEN %4$s THEN %2$s * prompt_tokens::bigint END AS prompt_tokens,'
        ' CASE WHEN %4$s THEN %2$s * completion_tokens::bigint END AS completion_tokens,'
        ' CASE WHEN %4$s THEN model::text END COLLATE "C" AS model,'
        ' %5$s COLLATE "C" AS batch_id'
        ' FROM %3$s AS run WHERE isfinite(created_at)',
        CASE WHEN moment.atttypid = 'timestamptz'::regtype THEN 'created_at'
            ELSE 'created_at::timestamp AT TIME ZONE ''UTC''' END,
        sign,
        source,
        'model <> '''' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL',
        -- Columns of adopted tables that only happen to have our names must not make a writer fail.
        CASE WHEN jobs.comparable THEN
            '(CASE WHEN run.trigger_job_id IS NOT NULL THEN'
            ' (SELECT job.batch_id::text FROM biz.ai_trigger_jobs AS job WHERE job.id = run.trigger_job_id) END)'
            ELSE 'NULL::text' END
    )
    FROM pg_attribute AS moment, (
        SELECT count(*) = 2 AS comparable FROM pg_attribute
        WHERE (attrelid = 'biz.ai_run_logs'::regclass AND attname = 'trigger_job_id'
            OR attrelid = 'biz.ai_trigger_jobs'::regclass AND attname = 'id')
          AND atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
    ) AS jobs
    WHERE moment.attrelid = 'biz.ai_run_logs'::regclass AND moment.attname = 'created_at'
$$;

-- What a statement changed, netted: what comes to nothing is left out.
CREATE FUNCTION runglass.net_run_log_deltas_sql(changes text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT format(
        'SELECT quarter, sum(tokens), sum(latency_ms_sum), sum(calls), latency_bin, site_id, app_type, status,'
        ' sum(prompt_tokens), sum(completion_tokens), model, batch_id'
        ' FROM (%s) AS changes'
        ' GROUP BY quarter, latency_bin, site_id, app_type, status, model, batch_id'
        ' HAVING sum(calls) <> 0 OR sum(tokens) <> 0 OR sum(latency_ms_sum) <> 0'
        '   OR sum(prompt_tokens) <> 0 OR sum(completion_tokens) <> 0',
        changes
    )
$$;

-- The triggers' functions, as in migration 0002.
DO $$
DECLARE
    columns text := 'quarter, tokens, latency_ms_sum, calls, latency_bin, site_id, app_type, status,'
        ' prompt_tokens, completion_tokens, model, batch_id';
    head text := 'LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS';
    body text := 'BEGIN INSERT INTO runglass.run_log_deltas (%s) %s; RETURN NULL; END';
    inserted text := runglass.run_log_deltas_sql('new_rows', 1);
    deleted text := runglass.run_log_deltas_sql('old_rows', -1);
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION runglass.count_inserted_run_logs() RETURNS trigger %s %L',
        head, format(body, columns, inserted)
    );
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION runglass.count_deleted_run_logs() RETURNS trigger %s %L',
        head, format(body, columns, deleted)
    );
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION runglass.count_updated_run_logs() RETURNS trigger %s %L',
        head,
        format(body, columns, runglass.net_run_log_deltas_sql(inserted || ' UNION ALL ' || deleted))
    );
END
$$;

CREATE OR REPLACE FUNCTION runglass.count_truncated_run_logs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- TRUNCATE of a partitioned table fires this once more for each partition, and those hold the rows.
    IF (SELECT relkind FROM pg_class WHERE oid = TG_RELID) <> 'p' THEN
        EXECUTE
            'INSERT INTO runglass.run_log_deltas (quarter, tokens, latency_ms_sum, calls, latency_bin, site_id, app_type,'
            ' status, prompt_tokens, completion_tokens, model, batch_id) '
            || runglass.net_run_log_deltas_sql(runglass.run_log_deltas_sql(TG_RELID::regclass::text, -1));
    END IF;
    RETURN NULL;
END
$$;

-- As before, with the two new roll-ups.
CREATE OR REPLACE FUNCTION runglass.roll_up_run_logs(source text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    rolled bigint;
    empty_usage tid[];
    empty_latency tid[];
    empty_models tid[];
    empty_batches tid[];
BEGIN
    EXECUTE 'WITH ' || source || $sql$,
    quarters AS (
        SELECT date_bin('1 hour', quarter, '2000-01-01 00:00:00+00'::timestamptz) AS hour,
            extract(minute FROM quarter AT TIME ZONE 'UTC')::integer AS minute,
            site_id, app_type, status, count(*) AS deltas,
            sum(calls) AS calls, sum(tokens)::bigint AS tokens,
            coalesce(sum(calls) FILTER (WHERE latency_bin IS NOT NULL), 0) AS latency_calls,
            sum(latency_ms_sum)::bigint AS latency_ms_sum
        FROM source
        GROUP BY quarter, site_id, app_type, status
    ),
    usage AS (
        INSERT INTO runglass.run_usage AS old
        SELECT grouping(site_id, app_type)::smallint, coalesce(site_id, ''), hour, coalesce(app_type, ''), status,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0),
            sum(tokens),
            coalesce(sum(tokens) FILTER (WHERE minute < 15), 0),
            coalesce(sum(tokens) FILTER (WHERE minute < 30), 0),
            coalesce(sum(tokens) FILTER (WHERE minute < 45), 0),
            sum(latency_calls),
            coalesce(sum(latency_calls) FILTER (WHERE minute < 15), 0),
            coalesce(sum(latency_calls) FILTER (WHERE minute < 30), 0),
            coalesce(sum(latency_calls) FILTER (WHERE minute < 45), 0),
            sum(latency_ms_sum),
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 15), 0),
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 30), 0),
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 45), 0)
        FROM quarters
        GROUP BY GROUPING SETS (
            (hour, site_id, app_type, status), (hour, site_id, status), (hour, app_type, status), (hour, status)
        )
        ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (level, site_id, hour, app_type, status) DO UPDATE SET
            calls = old.calls + excluded.calls,
            calls_15 = old.calls_15 + excluded.calls_15,
            calls_30 = old.calls_30 + excluded.calls_30,
            calls_45 = old.calls_45 + excluded.calls_45,
            tokens = old.tokens + excluded.tokens,
            tokens_15 = old.tokens_15 + excluded.tokens_15,
            tokens_30 = old.tokens_30 + excluded.tokens_30,
            tokens_45 = old.tokens_45 + excluded.tokens_45,
            latency_calls = old.latency_calls + excluded.latency_calls,
            latency_calls_15 = old.latency_calls_15 + excluded.latency_calls_15,
            latency_calls_30 = old.latency_calls_30 + excluded.latency_calls_30,
            latency_calls_45 = old.latency_calls_45 + excluded.latency_calls_45,
            latency_ms_sum = old.latency_ms_sum + excluded.latency_ms_sum,
            latency_ms_sum_15 = old.latency_ms_sum_15 + excluded.latency_ms_sum_15,
            latency_ms_sum_30 = old.latency_ms_sum_30 + excluded.latency_ms_sum_30,
            latency_ms_sum_45 = old.latency_ms_sum_45 + excluded.latency_ms_sum_45
        RETURNING old.ctid AS row_id,
            0 = ALL (ARRAY[
                old.calls, old.calls_15, old.calls_30, old.calls_45,
                old.tokens, old.tokens_15, old.tokens_30, old.tokens_45,
                old.latency_calls, old.latency_calls_15, old.latency_calls_30, old.latency_calls_45,
                old.latency_ms_sum, old.latency_ms_sum_15, old.latency_ms_sum_30, old.latency_ms_sum_45
            ]) AS empty
    ),
    totals AS (
        INSERT INTO runglass.run_totals AS old
        SELECT site_id, app_type, status, sum(calls), sum(tokens)
        FROM quarters
        GROUP BY site_id, app_type, status
        ON CONFLICT (site_id, app_type, status) DO UPDATE SET
            calls = old.calls + excluded.calls,
            tokens = old.tokens + excluded.tokens
    ),
    bins AS (
        SELECT date_bin('1 hour', quarter, '2000-01-01 00:00:00+00'::timestamptz) AS hour,
            extract(minute FROM quarter AT TIME ZONE 'UTC')::integer AS minute,
            site_id, latency_bin, calls
        FROM source
        WHERE latency_bin IS NOT NULL
    ),
    latency AS (
        INSERT INTO runglass.run_latency AS old
        SELECT (1 + 2 * grouping(site_id))::smallint, coalesce(site_id, ''), hour, latency_bin,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0)
        FROM bins
        GROUP BY GROUPING SETS ((hour, site_id, latency_bin), (hour, latency_bin))
        ORDER BY 1, 2, 3, 4
        ON CONFLICT (level, site_id, hour, latency_bin) DO UPDATE SET
            calls = old.calls + excluded.calls,
            calls_15 = old.calls_15 + excluded.calls_15,
            calls_30 = old.calls_30 + excluded.calls_30,
            calls_45 = old.calls_45 + excluded.calls_45
        RETURNING old.ctid AS row_id,
            0 = ALL (ARRAY[old.calls, old.calls_15, old.calls_30, old.calls_45]) AS empty
    ),
    models AS (
        SELECT date_bin('1 hour', quarter, '2000-01-01 00:00:00+00'::timestamptz) AS hour,
            extract(minute FROM quarter AT TIME ZONE 'UTC')::integer AS minute,
            site_id, app_type, model, sum(calls) AS calls,
            sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens
        FROM source
        WHERE model IS NOT NULL
        GROUP BY quarter, site_id, app_type, model
    ),
    model_usage AS (
        INSERT INTO runglass.model_usage AS old
        SELECT grouping(site_id, app_type)::smallint, coalesce(site_id, ''), hour, coalesce(app_type, ''), model,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0),
            sum(prompt_tokens),
            coalesce(sum(prompt_tokens) FILTER (WHERE minute < 15), 0),
            coalesce(sum(prompt_tokens) FILTER (WHERE minute < 30), 0),
            coalesce(sum(prompt_tokens) FILTER (WHERE minute < 45), 0),
            sum(completion_tokens),
            coalesce(sum(completion_tokens) FILTER (WHERE minute < 15), 0),
            coalesce(sum(completion_tokens) FILTER (WHERE minute < 30), 0),
            coalesce(sum(completion_tokens) FILTER (WHERE minute < 45), 0)
        FROM models
        GROUP BY GROUPING SETS (
            (hour, site_id, app_type, model), (hour, site_id, model), (hour, app_type, model), (hour, model)
        )
        ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (level, site_id, hour, app_type, model) DO UPDATE SET
            calls = old.calls + excluded.calls,
            calls_15 = old.calls_15 + excluded.calls_15,
            calls_30 = old.calls_30 + excluded.calls_30,
            calls_45 = old.calls_45 + excluded.calls_45,
            prompt_tokens = old.prompt_tokens + excluded.prompt_tokens,
            prompt_tokens_15 = old.prompt_tokens_15 + excluded.prompt_tokens_15,
            prompt_tokens_30 = old.prompt_tokens_30 + excluded.prompt_tokens_30,
            prompt_tokens_45 = old.prompt_tokens_45 + excluded.prompt_tokens_45,
            completion_tokens = old.completion_tokens + excluded.completion_tokens,
            completion_tokens_15 = old.completion_tokens_15 + excluded.completion_tokens_15,
            completion_tokens_30 = old.completion_tokens_30 + excluded.completion_tokens_30,
            completion_tokens_45 = old.completion_tokens_45 + excluded.completion_tokens_45
        RETURNING old.ctid AS row_id,
            0 = ALL (ARRAY[
                old.calls, old.calls_15, old.calls_30, old.calls_45,
                old.prompt_tokens, old.prompt_tokens_15, old.prompt_tokens_30, old.prompt_tokens_45,
                old.completion_tokens, old.completion_tokens_15, old.completion_tokens_30, old.completion_tokens_45
            ]) AS empty
    ),
    batch_usage AS (
        INSERT INTO runglass.batch_usage AS old
        SELECT batch_id, quarter, coalesce(model, ''), sum(calls),
            coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0)
        FROM source
        WHERE batch_id IS NOT NULL
        GROUP BY batch_id, quarter, coalesce(model, '')
        ORDER BY 1, 2, 3
        ON CONFLICT (batch_id, quarter, model) DO UPDATE SET
            calls = old.calls + excluded.calls,
            prompt_tokens = old.prompt_tokens + excluded.prompt_tokens,
            completion_tokens = old.completion_tokens + excluded.completion_tokens
        RETURNING old.ctid AS row_id,
            0 = ALL (ARRAY[old.calls, old.prompt_tokens, old.completion_tokens]) AS empty
    )
    SELECT (SELECT coalesce(sum(deltas), 0) FROM quarters),
        ARRAY(SELECT row_id FROM usage WHERE empty),
        ARRAY(SELECT row_id FROM latency WHERE empty),
        ARRAY(SELECT row_id FROM model_usage WHERE empty),
        ARRAY(SELECT row_id FROM batch_usage WHERE empty)
    $sql$ INTO rolled, empty_usage, empty_latency, empty_models, empty_batches;
    -- Nobody else changes the roll-ups meanwhile, so these are still the rows' places.
    DELETE FROM runglass.run_usage WHERE ctid = ANY (empty_usage);
    DELETE FROM runglass.run_latency WHERE ctid = ANY (empty_latency);
    DELETE FROM runglass.model_usage WHERE ctid = ANY (empty_models);
    DELETE FROM runglass.batch_usage WHERE ctid = ANY (empty_batches);
    RETURN rolled;
END
$$;

CREATE OR REPLACE FUNCTION runglass.forget_run_rollups(first_hour timestamptz, last_hour timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE runglass.run_totals AS total SET calls = total.calls - gone.calls, tokens = total.tokens - gone.tokens
    FROM (
        SELECT site_id, app_type, status, sum(calls) AS calls, sum(tokens) AS tokens
        FROM runglass.run_usage
        WHERE level = 0 AND hour >= first_hour AND hour < last_hour
        GROUP BY site_id, app_type, status
    ) AS gone
    WHERE total.site_id = gone.site_id AND total.app_type = gone.app_type AND total.status = gone.status;
    DELETE FROM runglass.run_usage WHERE hour >= first_hour AND hour < last_hour;
    DELETE FROM runglass.run_latency WHERE hour >= first_hour AND hour < last_hour;
    DELETE FROM runglass.model_usage WHERE hour >= first_hour AND hour < last_hour;
END
$$;

-- As before. What batches used is counted again here, and so it is not forgotten with a dropped month.
CREATE OR REPLACE FUNCTION runglass.rebuild_run_rollups(first_hour timestamptz, last_hour timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    -- In the column's own type, so that an index on it serves.
    kind text := (
        SELECT format_type(atttypid, NULL) FROM pg_attribute
        WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'created_at'
    );
BEGIN
    PERFORM runglass.lock_run_rollups();
    PERFORM runglass.forget_run_rollups(first_hour, last_hour);
    DELETE FROM runglass.batch_usage WHERE quarter >= first_hour AND quarter < last_hour;
    RETURN runglass.roll_up_run_logs(format(
        'counted AS (DELETE FROM runglass.run_log_deltas WHERE quarter >= %1$L AND quarter < %2$L),'
        ' source AS (%3$s AND created_at >= %4$L::%6$s AND created_at < %5$L::%6$s)',
        first_hour,
        last_hour,
        runglass.run_log_deltas_sql('biz.ai_run_logs', 1),
        CASE WHEN kind LIKE '%with time zone' THEN first_hour::text ELSE (first_hour AT TIME ZONE 'UTC')::text END,
        CASE WHEN kind LIKE '%with time zone' THEN last_hour::text ELSE (last_hour AT TIME ZONE 'UTC')::text END,
        kind
    ));
END
$$;

CREATE OR REPLACE FUNCTION runglass.run_rollup_days() RETURNS SETOF timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
    zoned boolean;
BEGIN
    SELECT atttypid = 'timestamptz'::regtype INTO zoned FROM pg_attribute
    WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'created_at';
    RETURN QUERY EXECUTE format(
        'WITH RECURSIVE days AS ('
        ' SELECT date_bin(''24 hours'', min(created_at), ''2000-01-01 00:00:00+00''::%1$s) AS day FROM biz.ai_run_logs'
        ' WHERE created_at > ''-infinity'' AND created_at < ''infinity'''
        ' UNION ALL'
        ' SELECT date_bin(''24 hours'', (SELECT min(created_at) FROM biz.ai_run_logs'
        '  WHERE created_at >= days.day + interval ''24 hours'' AND created_at < ''infinity''),'
        '  ''2000-01-01 00:00:00+00''::%1$s)'
        ' FROM days WHERE day IS NOT NULL)'
        ' SELECT %2$s FROM days WHERE day IS NOT NULL'
        ' UNION'
        ' SELECT date_bin(''24 hours'', hour, ''2000-01-01 00:00:00+00''::timestamptz) FROM ('
        '  SELECT hour FROM runglass.run_usage UNION SELECT hour FROM runglass.run_latency'
        '  UNION SELECT hour FROM runglass.model_usage'
        -- Where the last run of a day went before its day was counted, a batch still lacks it.
        '  UNION SELECT quarter FROM runglass.batch_usage'
        '   WHERE quarter < (SELECT counted_from FROM runglass.model_usage_start)'
        '  UNION SELECT quarter FROM runglass.run_log_deltas) AS counted'
        ' ORDER BY 1',
        CASE WHEN zoned THEN 'timestamptz' ELSE 'timestamp' END,
        CASE WHEN zoned THEN 'day' ELSE 'day AT TIME ZONE ''UTC''' END
    );
END
$$;

-- As before. After a rebuild of every day all models are counted.
CREATE OR REPLACE FUNCTION runglass.rebuild_run_totals() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM runglass.lock_run_rollups();
    DELETE FROM runglass.run_totals;
    INSERT INTO runglass.run_totals
    SELECT site_id, app_type, status, sum(calls), sum(tokens) FROM runglass.run_usage WHERE level = 0 GROUP BY 1, 2, 3;
    UPDATE runglass.model_usage_start SET counted_from = '-infinity';
END
$$;

-- Counts the newest of the days that lie before what is counted of the models, and returns it. NULL where none is left,
-- or another session holds the roll-ups' lock.
CREATE FUNCTION runglass.count_models_of_a_day() RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    day timestamptz;
BEGIN
    IF (SELECT counted_from = '-infinity' FROM runglass.model_usage_start)
        OR NOT pg_try_advisory_xact_lock(runglass.run_rollup_lock())
    THEN
        RETURN NULL;
    END IF;
    PERFORM runglass.lock_run_rollups();
    SELECT max(days) INTO day FROM runglass.run_rollup_days() AS days
    WHERE days < (SELECT counted_from FROM runglass.model_usage_start);
    IF day IS NOT NULL THEN
        PERFORM runglass.rebuild_run_rollups(day, day + interval '24 hours');
    END IF;
    UPDATE runglass.model_usage_start SET counted_from = coalesce(day, '-infinity');
    RETURN day;
END
$$;

INSERT INTO runglass.model_usage_start
SELECT coalesce(max(day) + interval '24 hours', '-infinity') FROM runglass.run_rollup_days() AS day;
