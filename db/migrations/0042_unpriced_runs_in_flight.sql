-- Runs in flight have no cost: what they have used of a model counts when they end. Databases from before this have
-- counted them already, so the days of those that are in flight are counted again; there are few.

-- include run_log_counts.sql f56847835b02

DO $$
DECLARE
    day timestamptz;
BEGIN
    FOR day IN EXECUTE
        'SELECT DISTINCT date_bin(''24 hours'', quarter, ''2000-01-01 00:00:00+00''::timestamptz) FROM ('
        || runglass.run_log_deltas_sql(
            '(SELECT * FROM biz.ai_run_logs WHERE status IN (''pending'', ''running'') AND model <> '''')', 1
        ) || ') AS in_flight'
    LOOP
        PERFORM runglass.rebuild_run_rollups(day, day + interval '24 hours');
    END LOOP;
END
$$;
