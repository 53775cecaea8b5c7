-- Folds: deltas go from runglass.run_log_deltas into the roll-ups.

-- Everything that changes the roll-ups holds this lock to the end of its transaction; writers and readers never do.
CREATE OR REPLACE FUNCTION runglass.run_rollup_lock() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 7864511245002';

CREATE OR REPLACE FUNCTION runglass.lock_run_rollups() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- What is done under the lock must see what its last holder committed.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the roll-ups of run logs are changed at READ COMMITTED only';
    END IF;
    PERFORM pg_advisory_xact_lock(runglass.run_rollup_lock());
END
$$;

-- The day of an hour, and in which of the day's four parts of 6 hours it lies (0 to 3).
CREATE OR REPLACE FUNCTION runglass.day_of(hour timestamptz) RETURNS TABLE (day timestamptz, part integer)
LANGUAGE sql IMMUTABLE AS $$
    SELECT date_bin('24 hours', hour, '0001-01-01 00:00:00+00'::timestamptz),
        extract(hour FROM hour AT TIME ZONE 'UTC')::integer / 6
$$;

-- Adds the deltas that `source` selects to the roll-ups and returns how many there were. `source` is one or more common
-- table expressions, the last of which is called source and has the columns of run_log_deltas. Days are summed from hours.
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
        SELECT date_bin('1 hour', quarter, '0001-01-01 00:00:00+00'::timestamptz) AS hour,
            extract(minute FROM quarter AT TIME ZONE 'UTC')::integer AS minute,
            site_id, app_type, status, count(*) AS deltas,
            sum(calls) AS calls, sum(tokens) AS tokens,
            coalesce(sum(calls) FILTER (WHERE latency_bin IS NOT NULL), 0) AS latency_calls,
            sum(latency_ms_sum) AS latency_ms_sum
        FROM source
        GROUP BY quarter, site_id, app_type, status
    ),
    usage_hours AS MATERIALIZED (
        SELECT grouping(site_id, app_type)::smallint AS level, coalesce(site_id, '') AS site_id, hour,
            coalesce(app_type, '') AS app_type, status,
            sum(calls) AS calls,
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0) AS calls_15,
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0) AS calls_30,
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0) AS calls_45,
            sum(tokens) AS tokens,
            coalesce(sum(tokens) FILTER (WHERE minute < 15), 0) AS tokens_15,
            coalesce(sum(tokens) FILTER (WHERE minute < 30), 0) AS tokens_30,
            coalesce(sum(tokens) FILTER (WHERE minute < 45), 0) AS tokens_45,
            sum(latency_calls) AS latency_calls,
            coalesce(sum(latency_calls) FILTER (WHERE minute < 15), 0) AS latency_calls_15,
            coalesce(sum(latency_calls) FILTER (WHERE minute < 30), 0) AS latency_calls_30,
            coalesce(sum(latency_calls) FILTER (WHERE minute < 45), 0) AS latency_calls_45,
            sum(latency_ms_sum) AS latency_ms_sum,
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 15), 0) AS latency_ms_sum_15,
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 30), 0) AS latency_ms_sum_30,
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 45), 0) AS latency_ms_sum_45
        FROM quarters
        GROUP BY GROUPING SETS (
            (hour, site_id, app_type, status), (hour, site_id, status), (hour, app_type, status), (hour, status)
        )
    ),
    usage AS (
        INSERT INTO runglass.run_usage AS old
        SELECT level, site_id, hour, app_type, status,
            calls, calls_15, calls_30, calls_45,
            tokens, tokens_15, tokens_30, tokens_45,
            latency_calls, latency_calls_15, latency_calls_30, latency_calls_45,
            latency_ms_sum, latency_ms_sum_15, latency_ms_sum_30, latency_ms_sum_45
        FROM usage_hours
        UNION ALL
        SELECT level + 4, site_id, day, app_type, status,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE part < 1), 0),
            coalesce(sum(calls) FILTER (WHERE part < 2), 0),
            coalesce(sum(calls) FILTER (WHERE part < 3), 0),
            sum(tokens),
            coalesce(sum(tokens) FILTER (WHERE part < 1), 0),
            coalesce(sum(tokens) FILTER (WHERE part < 2), 0),
            coalesce(sum(tokens) FILTER (WHERE part < 3), 0),
            sum(latency_calls),
            coalesce(sum(latency_calls) FILTER (WHERE part < 1), 0),
            coalesce(sum(latency_calls) FILTER (WHERE part < 2), 0),
            coalesce(sum(latency_calls) FILTER (WHERE part < 3), 0),
            sum(latency_ms_sum),
            coalesce(sum(latency_ms_sum) FILTER (WHERE part < 1), 0),
            coalesce(sum(latency_ms_sum) FILTER (WHERE part < 2), 0),
            coalesce(sum(latency_ms_sum) FILTER (WHERE part < 3), 0)
        FROM usage_hours, runglass.day_of(hour)
        GROUP BY level, site_id, day, app_type, status
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
        SELECT date_bin('1 hour', quarter, '0001-01-01 00:00:00+00'::timestamptz) AS hour,
            extract(minute FROM quarter AT TIME ZONE 'UTC')::integer AS minute,
            site_id, latency_bin, calls
        FROM source
        WHERE latency_bin IS NOT NULL
    ),
    latency_hours AS MATERIALIZED (
        SELECT (1 + 2 * grouping(site_id))::smallint AS level, coalesce(site_id, '') AS site_id, hour, latency_bin,
            sum(calls) AS calls,
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0) AS calls_15,
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0) AS calls_30,
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0) AS calls_45
        FROM bins
        GROUP BY GROUPING SETS ((hour, site_id, latency_bin), (hour, latency_bin))
    ),
    latency AS (
        INSERT INTO runglass.run_latency AS old
        SELECT level, site_id, hour, latency_bin,
            calls, calls_15, calls_30, calls_45
        FROM latency_hours
        UNION ALL
        SELECT level + 4, site_id, day, latency_bin,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE part < 1), 0),
            coalesce(sum(calls) FILTER (WHERE part < 2), 0),
            coalesce(sum(calls) FILTER (WHERE part < 3), 0)
        FROM latency_hours, runglass.day_of(hour)
        GROUP BY level, site_id, day, latency_bin
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
        SELECT date_bin('1 hour', quarter, '0001-01-01 00:00:00+00'::timestamptz) AS hour,
            extract(minute FROM quarter AT TIME ZONE 'UTC')::integer AS minute,
            site_id, app_type, model, sum(calls) AS calls,
            sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens
        FROM source
        WHERE model IS NOT NULL
        GROUP BY quarter, site_id, app_type, model
    ),
    model_hours AS MATERIALIZED (
        SELECT grouping(site_id, app_type)::smallint AS level, coalesce(site_id, '') AS site_id, hour,
            coalesce(app_type, '') AS app_type, model,
            sum(calls) AS calls,
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0) AS calls_15,
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0) AS calls_30,
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0) AS calls_45,
            sum(prompt_tokens) AS prompt_tokens,
            coalesce(sum(prompt_tokens) FILTER (WHERE minute < 15), 0) AS prompt_tokens_15,
            coalesce(sum(prompt_tokens) FILTER (WHERE minute < 30), 0) AS prompt_tokens_30,
            coalesce(sum(prompt_tokens) FILTER (WHERE minute < 45), 0) AS prompt_tokens_45,
            sum(completion_tokens) AS completion_tokens,
            coalesce(sum(completion_tokens) FILTER (WHERE minute < 15), 0) AS completion_tokens_15,
            coalesce(sum(completion_tokens) FILTER (WHERE minute < 30), 0) AS completion_tokens_30,
            coalesce(sum(completion_tokens) FILTER (WHERE minute < 45), 0) AS completion_tokens_45
        FROM models
        GROUP BY GROUPING SETS (
            (hour, site_id, app_type, model), (hour, site_id, model), (hour, app_type, model), (hour, model)
        )
    ),
    model_usage AS (
        INSERT INTO runglass.model_usage AS old
        SELECT level, site_id, hour, app_type, model,
            calls, calls_15, calls_30, calls_45,
            prompt_tokens, prompt_tokens_15, prompt_tokens_30, prompt_tokens_45,
            completion_tokens, completion_tokens_15, completion_tokens_30, completion_tokens_45
        FROM model_hours
        UNION ALL
        SELECT level + 4, site_id, day, app_type, model,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE part < 1), 0),
            coalesce(sum(calls) FILTER (WHERE part < 2), 0),
            coalesce(sum(calls) FILTER (WHERE part < 3), 0),
            sum(prompt_tokens),
            coalesce(sum(prompt_tokens) FILTER (WHERE part < 1), 0),
            coalesce(sum(prompt_tokens) FILTER (WHERE part < 2), 0),
            coalesce(sum(prompt_tokens) FILTER (WHERE part < 3), 0),
            sum(completion_tokens),
            coalesce(sum(completion_tokens) FILTER (WHERE part < 1), 0),
            coalesce(sum(completion_tokens) FILTER (WHERE part < 2), 0),
            coalesce(sum(completion_tokens) FILTER (WHERE part < 3), 0)
        FROM model_hours, runglass.day_of(hour)
        GROUP BY level, site_id, day, app_type, model
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

-- Moves up to `most` deltas into the roll-ups and returns how many. Where another session holds the roll-ups' lock it
-- returns 0 at once, or waits for that one.
CREATE OR REPLACE FUNCTION runglass.fold_run_log_deltas(most integer DEFAULT 100000, wait boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT wait AND NOT pg_try_advisory_xact_lock(runglass.run_rollup_lock()) THEN
        RETURN 0;
    END IF;
    PERFORM runglass.lock_run_rollups();
    RETURN runglass.roll_up_run_logs(format(
        'source AS (DELETE FROM runglass.run_log_deltas'
        ' WHERE ctid = ANY (ARRAY(SELECT ctid FROM runglass.run_log_deltas LIMIT %s)) RETURNING *)',
        most
    ));
END
$$;
