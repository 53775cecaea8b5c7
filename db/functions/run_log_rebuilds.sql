-- Rebuilds: days of the roll-ups are counted again from the rows of biz.ai_run_logs.

-- Takes the hours of [first_hour, last_hour) out of the roll-ups. The caller holds the lock. Whole days of UTC only, because the rows of days are forgotten with those of their hours.
CREATE OR REPLACE FUNCTION runglass.forget_run_rollups(first_hour timestamptz, last_hour timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF first_hour <> date_trunc('day', first_hour, 'UTC') OR last_hour <> date_trunc('day', last_hour, 'UTC') THEN
        RAISE EXCEPTION 'the roll-ups of run logs are forgotten by whole days of UTC';
    END IF;
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

-- Recounts [first_hour, last_hour) from the rows. Writers go on: the recount and the removal of the deltas are one
-- statement, so they have one snapshot. Deltas that commit later describe changes that the recount has not seen.
-- What batches used is counted again here, and so it is not forgotten with a dropped month.
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
        CASE WHEN kind LIKE '%with time zone' THEN first_hour::text ELSE (first_hour AT TIME ZONE runglass.stored_time_zone())::text END,
        CASE WHEN kind LIKE '%with time zone' THEN last_hour::text ELSE (last_hour AT TIME ZONE runglass.stored_time_zone())::text END,
        kind
    ));
END
$$;

-- The days (UTC) that have a row, a delta or a roll-up, earliest first.
CREATE OR REPLACE FUNCTION runglass.run_rollup_days() RETURNS SETOF timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
    zoned boolean;
BEGIN
    SELECT atttypid = 'timestamptz'::regtype INTO zoned FROM pg_attribute
    WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'created_at';
    RETURN QUERY EXECUTE format(
        'WITH RECURSIVE days AS ('
        ' SELECT date_bin(''24 hours'', min(created_at)%2$s, ''0001-01-01 00:00:00+00''::timestamptz) AS day'
        ' FROM biz.ai_run_logs'
        ' WHERE created_at >= ''0002-01-01 00:00:00+00''::%1$s AND created_at < ''9999-01-01 00:00:00+00''::%1$s'
        ' UNION ALL'
        ' SELECT date_bin(''24 hours'', (SELECT min(created_at) FROM biz.ai_run_logs'
        '  WHERE created_at >= (days.day + interval ''24 hours'')%2$s'
        '   AND created_at < ''9999-01-01 00:00:00+00''::%1$s)%2$s, ''0001-01-01 00:00:00+00''::timestamptz)'
        ' FROM days WHERE day IS NOT NULL)'
        ' SELECT day FROM days WHERE day IS NOT NULL'
        ' UNION'
        ' SELECT date_bin(''24 hours'', hour, ''0001-01-01 00:00:00+00''::timestamptz) FROM ('
        '  SELECT hour FROM runglass.run_usage UNION SELECT hour FROM runglass.run_latency'
        '  UNION SELECT hour FROM runglass.model_usage'
        '  UNION SELECT quarter FROM runglass.run_log_deltas) AS counted'
        ' ORDER BY 1',
        CASE WHEN zoned THEN 'timestamptz' ELSE 'timestamp' END,
        CASE WHEN zoned THEN '' ELSE ' AT TIME ZONE runglass.stored_time_zone()' END
    );
END
$$;

-- The newest of these days that begins before `moment`; NULL where there is none.
CREATE OR REPLACE FUNCTION runglass.run_rollup_day_before(moment timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
    zoned boolean;
    newest timestamptz;
BEGIN
    SELECT atttypid = 'timestamptz'::regtype INTO zoned FROM pg_attribute
    WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'created_at';
    EXECUTE format(
        'SELECT greatest('
        ' (SELECT max(created_at) FROM biz.ai_run_logs'
        '  WHERE created_at >= ''0002-01-01 00:00:00+00''::%1$s AND created_at < %2$L::%1$s)%3$s,'
        -- Level 3 has every hour of which anything is left.
        ' (SELECT max(hour) FROM runglass.run_usage WHERE level = 3 AND site_id = '''' AND hour < $1),'
        ' (SELECT max(hour) FROM runglass.run_latency WHERE level = 3 AND site_id = '''' AND hour < $1),'
        ' (SELECT max(hour) FROM runglass.model_usage WHERE level = 3 AND site_id = '''' AND hour < $1),'
        ' (SELECT max(quarter) FROM runglass.batch_usage WHERE quarter < $1),'
        ' (SELECT max(quarter) FROM runglass.run_log_deltas WHERE quarter < $1))',
        CASE WHEN zoned THEN 'timestamptz' ELSE 'timestamp' END,
        CASE WHEN zoned THEN moment::text ELSE (moment AT TIME ZONE runglass.stored_time_zone())::text END,
        CASE WHEN zoned THEN '' ELSE ' AT TIME ZONE runglass.stored_time_zone()' END
    ) INTO newest USING moment;
    RETURN date_bin('24 hours', newest, '0001-01-01 00:00:00+00'::timestamptz);
END
$$;

-- run_totals once more from the hours; the last step of a rebuild.
CREATE OR REPLACE FUNCTION runglass.rebuild_run_totals() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM runglass.lock_run_rollups();
    DELETE FROM runglass.run_totals;
    INSERT INTO runglass.run_totals
    SELECT site_id, app_type, status, sum(calls), sum(tokens) FROM runglass.run_usage WHERE level = 0 GROUP BY 1, 2, 3;
END
$$;

-- Counts the runs of the newest day that is not counted yet, and returns it; NULL where all are. Every write has been
-- counted by the triggers since before the first call, so a day may be changed before, while and after it is counted:
-- what was counted of it is forgotten, its deltas go, and its rows are read, all in the snapshot of one statement.
CREATE OR REPLACE FUNCTION runglass.count_day_of_old_runs() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    day timestamptz;
BEGIN
    PERFORM runglass.lock_run_rollups();
    SELECT runglass.run_rollup_day_before(least(counted_from, '9999-01-01 00:00:00+00')) INTO day
    FROM runglass.model_usage_start WHERE counted_from > '-infinity';
    UPDATE runglass.model_usage_start SET counted_from = coalesce(day, '-infinity');
    IF day IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM runglass.rebuild_run_rollups(day, day + interval '24 hours');
    -- Nobody else may fold yet, and each day looks at all deltas.
    PERFORM runglass.fold_run_log_deltas(100000, true);
    RETURN (day AT TIME ZONE 'UTC')::date;
END
$$;
