-- Whether the sums still tell what the rows do. They are exact for every write whose triggers fire; rows also come and go
-- with a partition that is attached, detached or dropped, and are written where triggers are off.

-- The tables of the log whose writes are not all counted, because a trigger of ours is missing or off.
CREATE OR REPLACE FUNCTION runglass.uncounted_run_log_tables() RETURNS SETOF text
LANGUAGE sql STABLE AS $$
    SELECT format('%I.%I', nspname, relname)
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid IN (SELECT relid FROM pg_partition_tree('biz.ai_run_logs') UNION SELECT 'biz.ai_run_logs'::regclass)
        AND relkind IN ('r', 'p') AND (
            SELECT count(*) FROM pg_trigger
            WHERE tgrelid = pg_class.oid AND tgenabled IN ('O', 'A') AND tgfoid IN (
                'runglass.count_inserted_run_logs()'::regprocedure, 'runglass.count_updated_run_logs()'::regprocedure,
                'runglass.count_deleted_run_logs()'::regprocedure, 'runglass.count_truncated_run_logs()'::regprocedure
            )
        ) < 4
    ORDER BY 1
$$;

-- Lets the next table that lacks our triggers count its writes, puts its days into doubt, and returns it; NULL where all
-- tables have them. Definer's rights, because it makes triggers (docs/roles.md).
CREATE OR REPLACE FUNCTION runglass.count_run_logs_from_now_on() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target text := runglass.count_next_run_logs();
BEGIN
    IF target IS NOT NULL THEN
        INSERT INTO runglass.run_days_in_doubt (day, reason)
        SELECT day, format('writes of %s were not counted', target)
        FROM runglass.run_rollup_days() AS day
        WHERE runglass.run_log_day_period(day) && coalesce(
            -- Of a partition of a partition the whole log.
            (SELECT period FROM runglass.run_log_parts() WHERE part = target::regclass), tstzrange(NULL, NULL)
        )
        ON CONFLICT (day) DO UPDATE SET reason = excluded.reason, noticed_at = now(), counted_at = NULL, differed = NULL;
    END IF;
    RETURN target;
END
$$;

-- How many (site, app, status) of a day (UTC) have sums that are not those of their rows, in one snapshot.
CREATE OR REPLACE FUNCTION runglass.run_log_day_differences(day timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    kind text := (
        SELECT format_type(atttypid, NULL) FROM pg_attribute
        WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'created_at'
    );
    zoned boolean := kind LIKE '%with time zone';
    differences bigint;
BEGIN
    EXECUTE format(
        'SELECT count(*) FROM ('
        ' SELECT FROM ('
        '  SELECT site_id, app_type, status, calls, tokens, latency_ms_sum FROM runglass.run_usage'
        '  WHERE level = 0 AND hour >= $1 AND hour < $1 + interval ''24 hours'''
        '  UNION ALL SELECT site_id, app_type, status, calls, tokens, latency_ms_sum FROM runglass.run_log_deltas'
        '  WHERE quarter >= $1 AND quarter < $1 + interval ''24 hours'''
        '  UNION ALL SELECT site_id, app_type, status, calls, tokens, latency_ms_sum FROM ('
        '   %1$s AND created_at >= %2$L::%4$s AND created_at < %3$L::%4$s) AS rows'
        ' ) AS shares'
        ' GROUP BY site_id, app_type, status'
        ' HAVING sum(calls) <> 0 OR sum(tokens) <> 0 OR sum(latency_ms_sum) <> 0'
        ') AS different',
        runglass.run_log_deltas_sql('biz.ai_run_logs', -1),
        CASE WHEN zoned THEN day::text ELSE (day AT TIME ZONE runglass.stored_time_zone())::text END,
        CASE WHEN zoned THEN (day + interval '24 hours')::text
            ELSE ((day + interval '24 hours') AT TIME ZONE runglass.stored_time_zone())::text END,
        kind
    ) INTO differences USING day;
    RETURN differences;
END
$$;

-- Puts a day whose sums differ into doubt, with the days beside it: what is written past the triggers seldom keeps to one.
CREATE OR REPLACE FUNCTION runglass.doubt_run_days(around timestamptz, because text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO runglass.run_days_in_doubt (day, reason)
    SELECT beside, because
    FROM unnest(ARRAY[around, around - interval '24 hours', around + interval '24 hours']) AS beside
    ON CONFLICT (day) DO NOTHING;
END
$$;

-- Counts the newest day in doubt again where its sums differ, and returns it; NULL where none is left, or another session
-- changes the roll-ups.
CREATE OR REPLACE FUNCTION runglass.count_day_in_doubt() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    doubt record;
    is_wrong boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(runglass.run_rollup_lock()) THEN
        RETURN NULL;
    END IF;
    PERFORM runglass.lock_run_rollups();
    SELECT day, reason INTO doubt FROM runglass.run_days_in_doubt WHERE counted_at IS NULL ORDER BY day DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    is_wrong := runglass.run_log_day_differences(doubt.day) > 0;
    IF is_wrong THEN
        PERFORM runglass.rebuild_run_rollups(doubt.day, doubt.day + interval '24 hours');
        PERFORM runglass.doubt_run_days(doubt.day, doubt.reason);
    END IF;
    UPDATE runglass.run_days_in_doubt SET counted_at = now(), differed = is_wrong WHERE day = doubt.day;
    RETURN (doubt.day AT TIME ZONE 'UTC')::date;
END
$$;

-- Compares the newest day and one at random with their rows; puts into doubt, and returns, those that differ.
CREATE OR REPLACE FUNCTION runglass.sample_run_log_days() RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    day timestamptz;
BEGIN
    FOR day IN
        WITH days AS (SELECT days AS day FROM runglass.run_rollup_days() AS days)
        SELECT max(days.day) FROM days
        UNION (SELECT days.day FROM days ORDER BY random() LIMIT 1)
    LOOP
        IF runglass.run_log_day_differences(day) > 0 THEN
            PERFORM runglass.doubt_run_days(day, 'its sums were not those of its rows');
            RETURN NEXT (day AT TIME ZONE 'UTC')::date::text;
        END IF;
    END LOOP;
END
$$;
