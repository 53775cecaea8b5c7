-- include run_log_partitions.sql

-- An adopted log keeps its DEFAULT partition. One without gets it where rows may lack created_at, or a foreign key points to
-- the log: such rows cannot move to a month's partition under conditions that are ours to set.
DO $$
DECLARE
    parent regclass := 'biz.ai_run_logs';
BEGIN
    IF runglass.has_run_log_months() THEN
        IF (
            EXISTS (SELECT FROM pg_attribute WHERE attrelid = parent AND attname = 'created_at' AND NOT attnotnull)
            OR EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = parent)
        ) THEN
            CREATE TABLE IF NOT EXISTS biz.ai_run_logs_rest PARTITION OF biz.ai_run_logs DEFAULT;
        END IF;
        PERFORM runglass.ensure_run_log_partitions(
            (now() - interval '3 months')::date, (now() + interval '3 months')::date
        );
    END IF;
END
$$;
