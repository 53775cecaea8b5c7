-- The zone in which adopted columns of times without a zone are read and written. Databases from before this have read them
-- as UTC, and count their writes already. Others take what the setting says, or else what the database itself does.
CREATE TABLE runglass.stored_time_zone (name text NOT NULL);
-- Whoever reads or imports asks for it.
GRANT SELECT ON runglass.stored_time_zone TO PUBLIC;
INSERT INTO runglass.stored_time_zone
SELECT CASE
    WHEN EXISTS (SELECT FROM pg_trigger WHERE tgfoid = to_regproc('runglass.count_inserted_run_logs')) THEN 'UTC'
    WHEN NOT EXISTS (
        SELECT FROM pg_attribute WHERE atttypid = 'timestamp'::regtype AND NOT attisdropped
            AND attrelid IN ('biz.ai_run_logs'::regclass, 'biz.ai_trigger_jobs'::regclass, 'biz.ai_cache'::regclass)
    ) THEN 'UTC'
    ELSE coalesce(nullif(current_setting('runglass.stored_time_zone', true), ''), current_setting('TimeZone'))
END;
CREATE FUNCTION runglass.stored_time_zone() RETURNS text LANGUAGE sql STABLE AS
$$SELECT coalesce((SELECT name FROM runglass.stored_time_zone LIMIT 1), 'UTC')$$;

-- Sums of tokens and of latencies are numeric: whatever an adopted service writes, they neither overflow nor stop a fold.

-- What databases from before the baseline have, and nobody calls any more.
DROP FUNCTION IF EXISTS runglass.count_models_of_a_day(), runglass.json_string(text), runglass.json_instant(timestamptz);

ALTER TABLE runglass.run_usage
    ALTER tokens TYPE numeric, ALTER tokens_15 TYPE numeric, ALTER tokens_30 TYPE numeric, ALTER tokens_45 TYPE numeric,
    ALTER latency_ms_sum TYPE numeric, ALTER latency_ms_sum_15 TYPE numeric, ALTER latency_ms_sum_30 TYPE numeric,
    ALTER latency_ms_sum_45 TYPE numeric;
ALTER TABLE runglass.run_totals ALTER tokens TYPE numeric;
ALTER TABLE runglass.model_usage
    ALTER prompt_tokens TYPE numeric, ALTER prompt_tokens_15 TYPE numeric, ALTER prompt_tokens_30 TYPE numeric,
    ALTER prompt_tokens_45 TYPE numeric,
    ALTER completion_tokens TYPE numeric, ALTER completion_tokens_15 TYPE numeric,
    ALTER completion_tokens_30 TYPE numeric, ALTER completion_tokens_45 TYPE numeric;
ALTER TABLE runglass.batch_usage ALTER prompt_tokens TYPE numeric, ALTER completion_tokens TYPE numeric;

-- include run_log_counts.sql f56847835b02
-- include run_log_folds.sql cf712f27d334
-- include run_log_rebuilds.sql 3b919b44823f
-- include run_log_partitions.sql 47678eee4f79

-- Writers wait for the deltas to be written anew, so that they are few by then.
SELECT runglass.fold_run_log_deltas(1000000, true);
ALTER TABLE runglass.run_log_deltas
    ALTER tokens TYPE numeric, ALTER latency_ms_sum TYPE numeric, ALTER prompt_tokens TYPE numeric,
    ALTER completion_tokens TYPE numeric;

-- Times that are not counted any more.
SELECT runglass.forget_run_rollups('-infinity', '0002-01-01 00:00:00+00');
SELECT runglass.forget_run_rollups('9999-01-01 00:00:00+00', 'infinity');
DELETE FROM runglass.run_log_deltas WHERE quarter < '0002-01-01 00:00:00+00' OR quarter >= '9999-01-01 00:00:00+00';
