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

-- include run_log_counts.sql 23e6fd56e293
-- include run_log_folds.sql cf712f27d334
-- include run_log_rebuilds.sql a1b01414af4d
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
