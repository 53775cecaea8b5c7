-- What is known of changes of the log that no trigger saw, so that its sums are counted again.

-- The tables of the log when somebody looked last.
CREATE TABLE runglass.run_log_tables (
    part oid PRIMARY KEY,
    name text NOT NULL,
    period tstzrange NOT NULL
);

-- Days (UTC) whose sums may not be those of their rows. They are counted again by the servers' upkeep, and stay here to
-- be told until a rebuild.
CREATE TABLE runglass.run_days_in_doubt (
    day timestamptz PRIMARY KEY,
    reason text NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),
    counted_at timestamptz,
    -- Whether its sums differed when it was counted again.
    differed boolean
);
CREATE INDEX run_days_to_count ON runglass.run_days_in_doubt (day) WHERE counted_at IS NULL;

-- include run_log_partitions.sql 15edd02fea1c
-- include run_log_checks.sql c3ec21e35599

SELECT runglass.know_run_log_tables();
