-- Roll-ups of biz.ai_run_logs, equal to a recount in every snapshot
-- (docs/decisions/keep-roll-ups-as-deltas-and-folds.md).
-- Writers only append to run_log_deltas; runglass.fold_run_log_deltas moves deltas into the roll-ups, one folder
-- at a time; readers add what is not folded yet. db/rollups.py holds the statements that read.

-- A site, app or status that is NULL in an adopted table is '' here. latency_bin is NULL where a run has no
-- latency; else 0 holds 0 ms and bin n >= 1 holds 1.1^(n-2) < ms <= 1.1^(n-1), so that 2 * 1.1^(n-1) / 2.1 is
-- within 4.8 % of every value in it.
CREATE TABLE runglass.run_log_deltas (
    quarter timestamptz NOT NULL,
    tokens bigint NOT NULL,
    latency_ms_sum bigint NOT NULL,
    calls integer NOT NULL,
    latency_bin smallint,
    site_id text COLLATE "C" NOT NULL,
    app_type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_threshold = -1,
    -- Starting workers takes longer than reading what a few seconds leave here.
    parallel_workers = 0
);

-- level says which dimensions are summed away, and '' there: 0 none, 1 app_type, 2 site_id, 3 both.
-- calls_15, calls_30 and calls_45 count the first 15, 30 and 45 minutes of the hour: zones at half and quarter hours
-- begin their days inside an hour. latency_calls counts the runs that have a latency.
CREATE TABLE runglass.run_usage (
    level smallint NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    app_type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    calls_15 bigint NOT NULL,
    calls_30 bigint NOT NULL,
    calls_45 bigint NOT NULL,
    tokens bigint NOT NULL,
    tokens_15 bigint NOT NULL,
    tokens_30 bigint NOT NULL,
    tokens_45 bigint NOT NULL,
    latency_calls bigint NOT NULL,
    latency_calls_15 bigint NOT NULL,
    latency_calls_30 bigint NOT NULL,
    latency_calls_45 bigint NOT NULL,
    latency_ms_sum bigint NOT NULL,
    latency_ms_sum_15 bigint NOT NULL,
    latency_ms_sum_30 bigint NOT NULL,
    latency_ms_sum_45 bigint NOT NULL,
    PRIMARY KEY (level, site_id, hour, app_type, status)
) WITH (fillfactor = 80, parallel_workers = 0);

-- For rebuilds and retention, which take all levels of some hours.
CREATE INDEX run_usage_hours ON runglass.run_usage
    USING brin (hour) WITH (pages_per_range = 32, autosummarize = on);

-- Sparse histograms: a row per bin that holds a call. level is 1 for one site, 3 for all (site_id '').
CREATE TABLE runglass.run_latency (
    level smallint NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    latency_bin smallint NOT NULL,
    calls bigint NOT NULL,
    calls_15 bigint NOT NULL,
    calls_30 bigint NOT NULL,
    calls_45 bigint NOT NULL,
    PRIMARY KEY (level, site_id, hour, latency_bin)
) WITH (fillfactor = 80, parallel_workers = 0);

CREATE INDEX run_latency_hours ON runglass.run_latency
    USING brin (hour) WITH (pages_per_range = 32, autosummarize = on);

-- Everything ever counted, whatever the hour.
CREATE TABLE runglass.run_totals (
    site_id text COLLATE "C" NOT NULL,
    app_type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    tokens bigint NOT NULL,
    PRIMARY KEY (site_id, app_type, status)
) WITH (fillfactor = 50);

-- The SELECT that turns rows of biz.ai_run_logs (or a partition, or a transition table) into deltas. Casts meet the
-- column types of adopted tables; a timestamp without zone is read as UTC whatever the writer's session says.
CREATE FUNCTION runglass.run_log_deltas_sql(source text, sign integer) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(
        'SELECT date_bin(''15 minutes'', %1$s, ''2000-01-01 00:00:00+00''::timestamptz) AS quarter,'
        ' %2$s * coalesce(tokens_used::bigint, 0) AS tokens,'
        ' %2$s * coalesce(latency_ms::bigint, 0) AS latency_ms_sum,'
        ' %2$s AS calls,'
        ' CASE WHEN latency_ms IS NULL THEN NULL WHEN latency_ms < 1 THEN 0 ELSE 1 +'
        '   ceil(ln(least(latency_ms::float8, 2147483647)) / ln(1.1::float8)) END::smallint AS latency_bin,'
        ' coalesce(site_id::text, '''') COLLATE "C" AS site_id,'
        ' coalesce(app_type::text, '''') COLLATE "C" AS app_type,'
        ' coalesce(status::text, '''') COLLATE "C" AS status'
        ' FROM %3$s WHERE isfinite(created_at)',
        CASE WHEN atttypid = 'timestamptz'::regtype THEN 'created_at'
            ELSE 'created_at::timestamp AT TIME ZONE ''UTC''' END,
        sign,
        source
    )
    FROM pg_attribute
    WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'created_at'
$$;

-- The triggers' functions. Definer's rights, because services that write run logs need no right to our schema.
DO $$
DECLARE
    columns text := 'quarter, tokens, latency_ms_sum, calls, latency_bin, site_id, app_type, status';
    head text := 'LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS';
BEGIN
    EXECUTE format(
        'CREATE FUNCTION runglass.count_inserted_run_logs() RETURNS trigger %s %L',
        head,
        format(
            'BEGIN INSERT INTO runglass.run_log_deltas (%s) %s; RETURN NULL; END',
            columns, runglass.run_log_deltas_sql('new_rows', 1)
        )
    );
    EXECUTE format(
        'CREATE FUNCTION runglass.count_deleted_run_logs() RETURNS trigger %s %L',
        head,
        format(
            'BEGIN INSERT INTO runglass.run_log_deltas (%s) %s; RETURN NULL; END',
            columns, runglass.run_log_deltas_sql('old_rows', -1)
        )
    );
    -- An acknowledged alert or a new error text changes nothing that is counted: its two deltas cancel out.
    EXECUTE format(
        'CREATE FUNCTION runglass.count_updated_run_logs() RETURNS trigger %s %L',
        head,
        format(
            'BEGIN INSERT INTO runglass.run_log_deltas (%1$s)'
            ' SELECT quarter, sum(tokens), sum(latency_ms_sum), sum(calls), latency_bin, site_id, app_type, status'
            ' FROM (%2$s UNION ALL %3$s) AS changes'
            ' GROUP BY quarter, latency_bin, site_id, app_type, status'
            ' HAVING sum(calls) <> 0 OR sum(tokens) <> 0 OR sum(latency_ms_sum) <> 0;'
            ' RETURN NULL; END',
            columns,
            runglass.run_log_deltas_sql('new_rows', 1),
            runglass.run_log_deltas_sql('old_rows', -1)
        )
    );
END
$$;

CREATE FUNCTION runglass.count_truncated_run_logs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- TRUNCATE of a partitioned table fires this once more for each partition, and those hold the rows.
    IF (SELECT relkind FROM pg_class WHERE oid = TG_RELID) <> 'p' THEN
        EXECUTE format(
            'INSERT INTO runglass.run_log_deltas'
            ' (quarter, tokens, latency_ms_sum, calls, latency_bin, site_id, app_type, status)'
            ' SELECT quarter, sum(tokens), sum(latency_ms_sum), sum(calls), latency_bin, site_id, app_type, status'
            ' FROM (%s) AS rows GROUP BY quarter, latency_bin, site_id, app_type, status',
            runglass.run_log_deltas_sql(TG_RELID::regclass::text, -1)
        );
    END IF;
    RETURN NULL;
END
$$;

-- A statement's triggers fire for the table that it names, so each partition carries them for writers that name it.
CREATE FUNCTION runglass.count_run_logs_of(target regclass) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER count_inserted AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows'
        ' FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_inserted_run_logs()', target);
    EXECUTE format(
        'CREATE TRIGGER count_updated AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
        ' FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_updated_run_logs()', target);
    EXECUTE format(
        'CREATE TRIGGER count_deleted AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows'
        ' FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_deleted_run_logs()', target);
    EXECUTE format(
        'CREATE TRIGGER count_truncated BEFORE TRUNCATE ON %s'
        ' FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_truncated_run_logs()', target);
END
$$;

CREATE OR REPLACE FUNCTION runglass.ensure_run_log_partitions(first_day date, last_day date) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    parent regclass := 'biz.ai_run_logs';
    month date := date_trunc('month', first_day)::date;
    partition text;
    occupied boolean;
    made integer := 0;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = parent) <> 'p' THEN
        RETURN 0;
    END IF;
    WHILE month <= last_day LOOP
        partition := 'ai_run_logs_' || to_char(month, 'YYYY_MM');
        IF to_regclass('biz.' || partition) IS NULL THEN
            -- A partition cannot take over rows that the default one already holds.
            SELECT EXISTS (
                SELECT FROM biz.ai_run_logs_rest
                WHERE created_at >= month::timestamp AT TIME ZONE 'UTC'
                  AND created_at < (month + interval '1 month')::timestamp AT TIME ZONE 'UTC'
            ) INTO occupied;
            IF NOT occupied THEN
                EXECUTE format(
                    'CREATE TABLE biz.%I PARTITION OF biz.ai_run_logs FOR VALUES FROM (%L) TO (%L)',
                    partition,
                    month::timestamp AT TIME ZONE 'UTC',
                    (month + interval '1 month')::timestamp AT TIME ZONE 'UTC'
                );
                PERFORM runglass.count_run_logs_of(format('biz.%I', partition)::regclass);
                made := made + 1;
            END IF;
        END IF;
        month := (month + interval '1 month')::date;
    END LOOP;
    RETURN made;
END
$$;

-- Everything that changes the roll-ups holds this lock to the end of its transaction; writers and readers never do.
CREATE FUNCTION runglass.run_rollup_lock() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 7864511245002';

CREATE FUNCTION runglass.lock_run_rollups() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- What is done under the lock must see what its last holder committed.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the roll-ups of run logs are changed at READ COMMITTED only';
    END IF;
    PERFORM pg_advisory_xact_lock(runglass.run_rollup_lock());
END
$$;

-- Adds the deltas that `source` selects to the roll-ups and returns how many there were. `source` is one or more common
-- table expressions, the last of which is called source and has the columns of run_log_deltas.
CREATE FUNCTION runglass.roll_up_run_logs(source text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    rolled bigint;
    empty_usage tid[];
    empty_latency tid[];
BEGIN
    EXECUTE 'WITH ' || source || $sql$,
    quarters AS (
        SELECT date_bin('1 hour', quarter, '2000-01-01 00:00:00+00'::timestamptz) AS hour,
            extract(minute FROM quarter AT TIME ZONE 'UTC')::integer AS minute,
            site_id, app_type, status, count(*) AS deltas,
            sum(calls) AS calls, sum(tokens)::bigint AS tokens,
            coalesce(sum(calls) FILTER (WHERE latency_bin IS NOT NULL), 0) AS latency_calls,
            sum(latency_ms_sum)::bigint AS latency_ms_sum
        FROM source
        GROUP BY quarter, site_id, app_type, status
    ),
    usage AS (
        INSERT INTO runglass.run_usage AS old
        SELECT grouping(site_id, app_type)::smallint, coalesce(site_id, ''), hour, coalesce(app_type, ''), status,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0),
            sum(tokens),
            coalesce(sum(tokens) FILTER (WHERE minute < 15), 0),
            coalesce(sum(tokens) FILTER (WHERE minute < 30), 0),
            coalesce(sum(tokens) FILTER (WHERE minute < 45), 0),
            sum(latency_calls),
            coalesce(sum(latency_calls) FILTER (WHERE minute < 15), 0),
            coalesce(sum(latency_calls) FILTER (WHERE minute < 30), 0),
            coalesce(sum(latency_calls) FILTER (WHERE minute < 45), 0),
            sum(latency_ms_sum),
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 15), 0),
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 30), 0),
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 45), 0)
        FROM quarters
        GROUP BY GROUPING SETS (
            (hour, site_id, app_type, status), (hour, site_id, status), (hour, app_type, status), (hour, status)
        )
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
        SELECT date_bin('1 hour', quarter, '2000-01-01 00:00:00+00'::timestamptz) AS hour,
            extract(minute FROM quarter AT TIME ZONE 'UTC')::integer AS minute,
            site_id, latency_bin, calls
        FROM source
        WHERE latency_bin IS NOT NULL
    ),
    latency AS (
        INSERT INTO runglass.run_latency AS old
        SELECT (1 + 2 * grouping(site_id))::smallint, coalesce(site_id, ''), hour, latency_bin,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0),
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0)
        FROM bins
        GROUP BY GROUPING SETS ((hour, site_id, latency_bin), (hour, latency_bin))
        ORDER BY 1, 2, 3, 4
        ON CONFLICT (level, site_id, hour, latency_bin) DO UPDATE SET
            calls = old.calls + excluded.calls,
            calls_15 = old.calls_15 + excluded.calls_15,
            calls_30 = old.calls_30 + excluded.calls_30,
            calls_45 = old.calls_45 + excluded.calls_45
        RETURNING old.ctid AS row_id,
            0 = ALL (ARRAY[old.calls, old.calls_15, old.calls_30, old.calls_45]) AS empty
    )
    SELECT (SELECT coalesce(sum(deltas), 0) FROM quarters),
        ARRAY(SELECT row_id FROM usage WHERE empty),
        ARRAY(SELECT row_id FROM latency WHERE empty)
    $sql$ INTO rolled, empty_usage, empty_latency;
    -- Nobody else changes the roll-ups meanwhile, so these are still the rows' places.
    DELETE FROM runglass.run_usage WHERE ctid = ANY (empty_usage);
    DELETE FROM runglass.run_latency WHERE ctid = ANY (empty_latency);
    RETURN rolled;
END
$$;

-- Moves up to `most` deltas into the roll-ups and returns how many. Where another session holds the roll-ups' lock it
-- returns 0 at once, or waits for that one.
CREATE FUNCTION runglass.fold_run_log_deltas(most integer DEFAULT 100000, wait boolean DEFAULT false) RETURNS bigint
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

-- Takes the hours of [first_hour, last_hour) out of the roll-ups. The caller holds the lock.
CREATE FUNCTION runglass.forget_run_rollups(first_hour timestamptz, last_hour timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
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
END
$$;

-- Recounts [first_hour, last_hour) from the rows. Writers go on: the recount and the removal of the deltas are one
-- statement, so they have one snapshot. Deltas that commit later describe changes that the recount has not seen.
CREATE FUNCTION runglass.rebuild_run_rollups(first_hour timestamptz, last_hour timestamptz) RETURNS bigint
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
    RETURN runglass.roll_up_run_logs(format(
        'counted AS (DELETE FROM runglass.run_log_deltas WHERE quarter >= %1$L AND quarter < %2$L),'
        ' source AS (%3$s AND created_at >= %4$L::%6$s AND created_at < %5$L::%6$s)',
        first_hour,
        last_hour,
        runglass.run_log_deltas_sql('biz.ai_run_logs', 1),
        CASE WHEN kind LIKE '%with time zone' THEN first_hour::text ELSE (first_hour AT TIME ZONE 'UTC')::text END,
        CASE WHEN kind LIKE '%with time zone' THEN last_hour::text ELSE (last_hour AT TIME ZONE 'UTC')::text END,
        kind
    ));
END
$$;

-- The days (UTC) that have a row, a delta or a roll-up, earliest first.
CREATE FUNCTION runglass.run_rollup_days() RETURNS SETOF timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
    zoned boolean;
BEGIN
    SELECT atttypid = 'timestamptz'::regtype INTO zoned FROM pg_attribute
    WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'created_at';
    RETURN QUERY EXECUTE format(
        'WITH RECURSIVE days AS ('
        ' SELECT date_bin(''24 hours'', min(created_at), ''2000-01-01 00:00:00+00''::%1$s) AS day FROM biz.ai_run_logs'
        ' WHERE created_at > ''-infinity'' AND created_at < ''infinity'''
        ' UNION ALL'
        ' SELECT date_bin(''24 hours'', (SELECT min(created_at) FROM biz.ai_run_logs'
        '  WHERE created_at >= days.day + interval ''24 hours'' AND created_at < ''infinity''),'
        '  ''2000-01-01 00:00:00+00''::%1$s)'
        ' FROM days WHERE day IS NOT NULL)'
        ' SELECT %2$s FROM days WHERE day IS NOT NULL'
        ' UNION'
        ' SELECT date_bin(''24 hours'', hour, ''2000-01-01 00:00:00+00''::timestamptz) FROM ('
        '  SELECT hour FROM runglass.run_usage UNION SELECT hour FROM runglass.run_latency'
        '  UNION SELECT quarter FROM runglass.run_log_deltas) AS counted'
        ' ORDER BY 1',
        CASE WHEN zoned THEN 'timestamptz' ELSE 'timestamp' END,
        CASE WHEN zoned THEN 'day' ELSE 'day AT TIME ZONE ''UTC''' END
    );
END
$$;

-- run_totals once more from the hours; the last step of a rebuild.
CREATE FUNCTION runglass.rebuild_run_totals() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM runglass.lock_run_rollups();
    DELETE FROM runglass.run_totals;
    INSERT INTO runglass.run_totals
    SELECT site_id, app_type, status, sum(calls), sum(tokens) FROM runglass.run_usage WHERE level = 0 GROUP BY 1, 2, 3;
END
$$;

-- Retention: drops the partition of the month that holds `month`, its roll-ups and its external ids, in one
-- transaction; false where there is no such partition. Writers wait only for the last statements.
CREATE FUNCTION runglass.drop_run_log_partition(month date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    first_hour timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    last_hour timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    partition text := 'biz.' || quote_ident('ai_run_logs_' || to_char(month, 'YYYY_MM'));
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_inherits
        WHERE inhrelid = to_regclass(partition) AND inhparent = 'biz.ai_run_logs'::regclass
    ) THEN
        RETURN false;
    END IF;
    PERFORM runglass.lock_run_rollups();
    PERFORM runglass.forget_run_rollups(first_hour, last_hour);
    DELETE FROM runglass.run_external_ids WHERE created_at >= first_hour AND created_at < last_hour;
    LOCK TABLE biz.ai_run_logs IN ACCESS EXCLUSIVE MODE;
    -- After the lock no writer is under way, so every delta of these rows can be seen.
    DELETE FROM runglass.run_log_deltas WHERE quarter >= first_hour AND quarter < last_hour;
    EXECUTE 'DROP TABLE ' || partition;
    RETURN true;
END
$$;

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
        PERFORM runglass.count_run_logs_of(target);
    END LOOP;
    FOR day IN SELECT runglass.run_rollup_days() LOOP
        PERFORM runglass.rebuild_run_rollups(day, day + interval '24 hours');
    END LOOP;
END
$$;
