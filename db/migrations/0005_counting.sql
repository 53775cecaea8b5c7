-- From here on every write is counted; then the rows that are there already. Writers wait until this migration is done.
DO $$
DECLARE
    target regclass;
    day timestamptz;
BEGIN
    FOR target IN
        SELECT relid FROM pg_partition_tree('biz.ai_run_logs')
        UNION SELECT 'biz.ai_run_logs'::regclass
    LOOP
        IF NOT EXISTS (
            SELECT FROM pg_trigger
            WHERE tgrelid = target AND tgfoid = 'runglass.count_inserted_run_logs'::regproc
        ) THEN
            PERFORM runglass.count_run_logs_of(target);
        END IF;
    END LOOP;
    FOR day IN SELECT runglass.run_rollup_days() LOOP
        PERFORM runglass.rebuild_run_rollups(day, day + interval '24 hours');
    END LOOP;
END
$$;

INSERT INTO runglass.model_usage_start VALUES ('-infinity');
