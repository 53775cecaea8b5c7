-- A run whose tokens nobody has told has none that are known, in a run log of our own as in adopted ones: a 0 would count
-- as known where calls are estimated.
DO $$
BEGIN
    -- The log is ours where our sequence numbers it.
    IF EXISTS (
        SELECT FROM pg_depend JOIN pg_attrdef AS own ON own.oid = objid
        WHERE classid = 'pg_attrdef'::regclass AND refobjid = 'runglass.run_log_id'::regclass
          AND own.adrelid = 'biz.ai_run_logs'::regclass
    ) THEN
        ALTER TABLE biz.ai_run_logs ALTER tokens_used DROP NOT NULL, ALTER tokens_used DROP DEFAULT;
    END IF;
END
$$;
