-- The partitions of biz.ai_run_logs cover the whole line of time without a DEFAULT one, because only then does PostgreSQL
-- read them one after another and stop where a page is full (docs/decisions/cover-all-time-without-a-default-partition.md).
-- A partition is a month's, or a stretch between months, before the first of them or after the last.

-- Whether the partitions of months are ours to make: the log is partitioned by ranges of created_at, and has no DEFAULT
-- partition but one that we made. A log that was adopted with other partitions is left alone.
CREATE OR REPLACE FUNCTION runglass.has_run_log_months() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_partitioned_table
        JOIN pg_attribute ON attrelid = partrelid AND attname = 'created_at'
        WHERE partrelid = 'biz.ai_run_logs'::regclass AND partstrat = 'r' AND partattrs::text = attnum::text
            AND partdefid IN (0, coalesce(to_regclass('biz.ai_run_logs_rest'), 0))
    )
$$;

-- Every partition with the period it holds. A stretch is one that we may split and merge; what others have attached under
-- names of their own is left alone.
CREATE OR REPLACE FUNCTION runglass.run_log_parts() RETURNS TABLE (part regclass, period tstzrange, is_stretch boolean)
LANGUAGE sql STABLE SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
    SELECT oid::regclass, tstzrange(bound[1]::timestamptz, bound[2]::timestamptz),
        relname ~ '^ai_run_logs_(before|after|from_[0-9]{4,}_[0-9]{2})(_[0-9]+)?$'
    FROM pg_inherits
    JOIN pg_class ON oid = inhrelid
    LEFT JOIN regexp_match(
        pg_get_expr(relpartbound, oid),
        '^FOR VALUES FROM \((?:MINVALUE|''(.*)'')\) TO \((?:MAXVALUE|''(.*)'')\)$'
    ) AS bound ON true
    WHERE inhparent = 'biz.ai_run_logs'::regclass
$$;

CREATE OR REPLACE FUNCTION runglass.run_log_condition(period tstzrange) RETURNS text
LANGUAGE sql STABLE SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
    SELECT concat_ws(
        ' AND ', 'true', 'created_at >= ' || quote_literal(lower(period)), 'created_at < ' || quote_literal(upper(period))
    )
$$;

CREATE OR REPLACE FUNCTION runglass.run_log_bounds(period tstzrange) RETURNS text
LANGUAGE sql STABLE SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
    SELECT format(
        'FOR VALUES FROM (%s) TO (%s)',
        coalesce(quote_literal(lower(period)), 'MINVALUE'), coalesce(quote_literal(upper(period)), 'MAXVALUE')
    )
$$;

-- A name for a stretch that no table but `part` has.
CREATE OR REPLACE FUNCTION runglass.run_log_stretch_name(period tstzrange, part regclass DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    base text := 'ai_run_logs_' || CASE
        WHEN lower_inf(period) THEN 'before'
        WHEN upper_inf(period) THEN 'after'
        ELSE 'from_' || to_char(lower(period) AT TIME ZONE 'UTC', 'YYYY_MM')
    END;
    name text := base;
    tries integer := 0;
BEGIN
    WHILE to_regclass('biz.' || name) <> coalesce(part, 0) LOOP
        tries := tries + 1;
        name := base || '_' || tries;
    END LOOP;
    RETURN name;
END
$$;

-- The tables of the log as they are: itself and its partitions.
CREATE OR REPLACE FUNCTION runglass.run_log_tables_now() RETURNS TABLE (part oid, name text, period tstzrange)
LANGUAGE sql STABLE AS $$
    SELECT 'biz.ai_run_logs'::regclass::oid, 'biz.ai_run_logs', tstzrange(NULL, NULL)
    UNION ALL
    SELECT parts.part::oid, format('%I.%I', nspname, relname), parts.period
    FROM runglass.run_log_parts() AS parts
    JOIN pg_class ON pg_class.oid = parts.part
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
$$;

-- A day (UTC) as the bounds of partitions are read, which is as if times without a zone were in UTC.
CREATE OR REPLACE FUNCTION runglass.run_log_day_period(day timestamptz) RETURNS tstzrange
LANGUAGE sql STABLE AS $$
    SELECT tstzrange(day - around, day + interval '24 hours' + around)
    FROM (
        SELECT CASE WHEN atttypid = 'timestamptz'::regtype THEN interval '0' ELSE interval '24 hours' END AS around
        FROM pg_attribute WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'created_at'
    ) AS margin
$$;

-- Takes the tables for known as they are, after a change that moved no row into or out of the log.
CREATE OR REPLACE FUNCTION runglass.know_run_log_tables() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- Not made yet while the first partitions are.
    IF to_regclass('runglass.run_log_tables') IS NOT NULL THEN
        DELETE FROM runglass.run_log_tables;
        INSERT INTO runglass.run_log_tables SELECT * FROM runglass.run_log_tables_now();
    END IF;
END
$$;

-- Drops our triggers of a table, and returns whether it had any.
CREATE OR REPLACE FUNCTION runglass.stop_counting_run_logs_of(target oid) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    own text;
    had boolean := false;
BEGIN
    FOR own IN
        SELECT tgname FROM pg_trigger
        WHERE tgrelid = target AND tgfoid IN (
            'runglass.count_inserted_run_logs()'::regprocedure, 'runglass.count_updated_run_logs()'::regprocedure,
            'runglass.count_deleted_run_logs()'::regprocedure, 'runglass.count_truncated_run_logs()'::regprocedure
        )
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', own, target::regclass);
        had := true;
    END LOOP;
    RETURN had;
END
$$;

-- Puts the days of tables that came, went or hold another period since they were known into doubt, and returns a line for
-- each such table. Definer's rights, because it takes triggers off (docs/roles.md).
CREATE OR REPLACE FUNCTION runglass.notice_run_log_tables() RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    change record;
    changed boolean := false;
BEGIN
    IF to_regclass('runglass.run_log_tables') IS NULL THEN
        RETURN;
    END IF;
    FOR change IN
        SELECT part, coalesce(known.name, present.name) AS name, known.period AS was, present.period AS is_now,
            CASE WHEN known.part IS NULL THEN 'came' WHEN present.part IS NULL THEN 'went' ELSE 'holds another period' END
                AS what
        FROM runglass.run_log_tables AS known
        FULL JOIN runglass.run_log_tables_now() AS present USING (part)
        WHERE known.period IS DISTINCT FROM present.period
    LOOP
        INSERT INTO runglass.run_days_in_doubt AS doubt (day, reason)
        SELECT day, format('%s %s', change.name, change.what)
        FROM runglass.run_rollup_days() AS day
        WHERE runglass.run_log_day_period(day) && ANY (
            array_remove(ARRAY[change.was, change.is_now], NULL)
        )
        ON CONFLICT (day) DO UPDATE SET reason = excluded.reason, noticed_at = now(), counted_at = NULL, differed = NULL;
        -- What is written into a table that is no part of the log any more must not be counted.
        IF change.what = 'went' THEN
            PERFORM runglass.stop_counting_run_logs_of(change.part);
        END IF;
        changed := true;
        RETURN NEXT format('%s %s', change.name, change.what);
    END LOOP;
    IF changed THEN
        PERFORM runglass.know_run_log_tables();
    END IF;
END
$$;

-- Keeps everybody off the log to the end of the transaction. The parent first: nobody who waits for it then holds a
-- partition that we want, unless they named it themselves.
CREATE OR REPLACE FUNCTION runglass.lock_run_log() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- A partition that was empty before the lock may hold a row now; an older snapshot would not show it.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the partitions of run logs are changed at READ COMMITTED only';
    END IF;
    LOCK TABLE ONLY biz.ai_run_logs IN ACCESS EXCLUSIVE MODE;
    -- What others did before must not be taken for what is done now.
    PERFORM runglass.notice_run_log_tables();
END
$$;

CREATE OR REPLACE FUNCTION runglass.add_run_log_part(name text, period tstzrange) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE biz.%I PARTITION OF biz.ai_run_logs %s', name, runglass.run_log_bounds(period));
    PERFORM runglass.count_run_logs_of(format('biz.%I', name)::regclass);
END
$$;

-- Covers what no partition covers, but for `reserved`, with stretches; empty ones beside it are made part of them.
-- The caller holds the log's lock.
CREATE OR REPLACE FUNCTION runglass.fill_run_log_gaps(reserved tstzrange DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    gap tstzrange;
    neighbour record;
    occupied boolean;
BEGIN
    FOREACH gap IN ARRAY ARRAY(
        SELECT unnest(tstzmultirange(tstzrange(NULL, NULL)) - range_agg(period))
        FROM (
            SELECT period FROM runglass.run_log_parts()
            UNION ALL SELECT coalesce(reserved, 'empty')
        ) AS covered
    ) LOOP
        FOR neighbour IN
            SELECT * FROM runglass.run_log_parts() WHERE is_stretch AND period -|- gap
        LOOP
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', neighbour.part);
            EXECUTE format('SELECT EXISTS (SELECT FROM %s)', neighbour.part) INTO occupied;
            CONTINUE WHEN occupied;
            BEGIN
                EXECUTE format('DROP TABLE %s', neighbour.part);
                gap := gap + neighbour.period;
            EXCEPTION WHEN dependent_objects_still_exist THEN
                -- A view or a foreign key of somebody's: it stays beside the new one.
            END;
        END LOOP;
        PERFORM runglass.add_run_log_part(runglass.run_log_stretch_name(gap), gap);
    END LOOP;
END
$$;

-- Runs a statement that moves rows into or out of `target` without its triggers: the log as a whole does not change.
CREATE OR REPLACE FUNCTION runglass.move_run_logs(target regclass, statement text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    switches text[] := ARRAY(
        SELECT CASE tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' END
            || format(' TRIGGER %I', tgname)
        FROM pg_trigger
        WHERE tgrelid = target AND tgenabled <> 'D'
            -- PostgreSQL 14 takes what a partition has of its parent's triggers for internal ones.
            AND (NOT tgisinternal OR (tgparentid <> 0 AND tgconstraint = 0))
    );
    switch text;
BEGIN
    FOREACH switch IN ARRAY switches LOOP
        EXECUTE format('ALTER TABLE %s %s', target, regexp_replace(switch, '^ENABLE( ALWAYS| REPLICA)?', 'DISABLE'));
    END LOOP;
    EXECUTE statement;
    FOREACH switch IN ARRAY switches LOOP
        EXECUTE format('ALTER TABLE %s %s', target, switch);
    END LOOP;
END
$$;

-- Takes the partition `source` off and attaches it again as that of `homes`, which together cover all that it held, in
-- which most of its rows lie (the first of equals). Its other rows move: `wanted`, where it is one of `homes`, becomes a
-- month's partition, the others become stretches. False, and nothing is done, where more than `most` rows would move.
-- The caller holds the log's lock.
CREATE OR REPLACE FUNCTION runglass.rehouse_run_logs(
    source regclass, homes tstzrange[], wanted tstzrange DEFAULT NULL, most bigint DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql SET TimeZone = 'UTC' AS $$
DECLARE
    month text := 'ai_run_logs_' || to_char(lower(wanted), 'YYYY_MM');
    columns text := (
        SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
        WHERE attrelid = 'biz.ai_run_logs'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    );
    place tstzrange;
    home tstzrange;
    held bigint;
    total bigint := 0;
    kept bigint := -1;
    first timestamptz;
    last timestamptz;
    made record;
    name text;
    counted boolean;
BEGIN
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', source);
    FOREACH place IN ARRAY homes LOOP
        EXECUTE format(
            'SELECT count(*) FROM (SELECT FROM %s WHERE %s LIMIT %s) AS rows',
            source, runglass.run_log_condition(place), coalesce((most + 1)::text, 'ALL')
        ) INTO held;
        total := total + held;
        IF held > kept THEN
            kept := held;
            home := place;
        END IF;
    END LOOP;
    IF total - kept > most THEN
        RETURN false;
    END IF;
    -- Attaching reads all its rows. Where months are made one after another, only the first shall do so.
    IF kept > 0 AND home <> wanted THEN
        EXECUTE format(
            'SELECT min(created_at), max(created_at) FROM %s WHERE %s', source, runglass.run_log_condition(home)
        ) INTO first, last;
        home := home * tstzrange(
            CASE WHEN first >= '0001-01-01' THEN date_trunc('month', first) END,
            CASE WHEN last < '9999-01-01' THEN date_trunc('month', last) + interval '1 month' END
        );
    END IF;
    EXECUTE format('ALTER TABLE biz.ai_run_logs DETACH PARTITION %s', source);
    name := CASE WHEN home = wanted THEN month ELSE runglass.run_log_stretch_name(home, source) END;
    IF name <> (SELECT relname FROM pg_class WHERE oid = source) THEN
        EXECUTE format('ALTER TABLE %s RENAME TO %I', source, name);
    END IF;
    IF home <> wanted THEN
        PERFORM runglass.add_run_log_part(month, wanted);
    END IF;
    PERFORM runglass.fill_run_log_gaps(home);
    IF total > kept THEN
        FOR made IN SELECT * FROM runglass.run_log_parts() WHERE period && ANY (homes) LOOP
            PERFORM runglass.move_run_logs(made.part, format(
                'INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s WHERE %s',
                made.part, columns, source, runglass.run_log_condition(made.period)
            ));
        END LOOP;
        PERFORM runglass.move_run_logs(
            source, format('DELETE FROM %s WHERE NOT (%s)', source, runglass.run_log_condition(home))
        );
    END IF;
    -- PostgreSQL 16.2 takes the triggers of statements that see the rows changed for triggers of rows, which no partition
    -- may have, but only where a table becomes one.
    counted := runglass.stop_counting_run_logs_of(source);
    EXECUTE format('ALTER TABLE biz.ai_run_logs ATTACH PARTITION %s %s', source, runglass.run_log_bounds(home));
    IF counted THEN
        PERFORM runglass.count_run_logs_of(source);
    END IF;
    RETURN true;
END
$$;

-- Makes the partition of the month `wanted`, which lies in a stretch. False where too many rows would move, or a foreign
-- key points to one of them. The caller holds the log's lock.
CREATE OR REPLACE FUNCTION runglass.split_run_log_stretch(stretch regclass, period tstzrange, wanted tstzrange) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RETURN runglass.rehouse_run_logs(
        stretch,
        -- An open end stays what it is where there are no rows to consider.
        ARRAY(
            SELECT place
            FROM unnest(ARRAY[
                tstzrange(lower(period), lower(wanted)), tstzrange(upper(wanted), upper(period)), wanted
            ]) WITH ORDINALITY AS places (place, number)
            WHERE NOT isempty(place)
            ORDER BY lower_inf(place) OR upper_inf(place) DESC, number
        ),
        wanted,
        10000
    );
EXCEPTION WHEN foreign_key_violation THEN
    RETURN false;
END
$$;

CREATE OR REPLACE FUNCTION runglass.ensure_run_log_partitions_beside_rest(first_day date, last_day date) RETURNS integer
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
    PERFORM runglass.notice_run_log_tables();
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
    IF made > 0 THEN
        PERFORM runglass.know_run_log_tables();
    END IF;
    RETURN made;
END
$$;

-- Makes the partitions of the months of [first_day, last_day] that are missing and returns how many it made; covers what
-- a partition covered that somebody dropped by hand. Rows that lie in a stretch already move to their month, unless more
-- than 10,000 would have to: then they stay, and their month has no partition of its own. Definer's rights, because servers
-- and workers need not own the log (docs/roles.md).
CREATE OR REPLACE FUNCTION runglass.ensure_run_log_partitions(first_day date, last_day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET TimeZone = 'UTC' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent regclass := 'biz.ai_run_logs';
    month timestamp := date_trunc('month', first_day::timestamp);
    wanted tstzrange;
    stretch record;
    made integer := 0;
BEGIN
    IF NOT runglass.has_run_log_months() THEN
        RETURN 0;
    END IF;
    IF (SELECT partdefid <> 0 FROM pg_partitioned_table WHERE partrelid = parent) THEN
        RETURN runglass.ensure_run_log_partitions_beside_rest(first_day, last_day);
    END IF;
    IF (SELECT range_agg(period) FROM runglass.run_log_parts()) IS DISTINCT FROM tstzmultirange(tstzrange(NULL, NULL)) THEN
        PERFORM runglass.lock_run_log();
        PERFORM runglass.fill_run_log_gaps();
        PERFORM runglass.know_run_log_tables();
    END IF;
    WHILE month <= last_day LOOP
        wanted := tstzrange(month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        IF to_regclass('biz.ai_run_logs_' || to_char(month, 'YYYY_MM')) IS NULL THEN
            PERFORM runglass.lock_run_log();
            -- Another server may have made it before we had the lock: then no stretch has it.
            SELECT * INTO stretch FROM runglass.run_log_parts() WHERE is_stretch AND period @> wanted;
            IF FOUND AND runglass.split_run_log_stretch(stretch.part, stretch.period, wanted) THEN
                made := made + 1;
                PERFORM runglass.know_run_log_tables();
            END IF;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END
$$;

-- Retention: drops the partition of the month that holds `month`, its roll-ups and its external ids, in one
-- transaction; false where there is no such partition. Writers wait only for the last statements. What the month covered
-- stays covered.
CREATE OR REPLACE FUNCTION runglass.drop_run_log_partition(month date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    first_hour timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    last_hour timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    partition text := 'biz.' || quote_ident('ai_run_logs_' || to_char(month, 'YYYY_MM'));
BEGIN
    -- Of two that drop the same month at once, the second finds it gone.
    PERFORM runglass.lock_run_rollups();
    IF NOT EXISTS (
        SELECT FROM pg_inherits
        WHERE inhrelid = to_regclass(partition) AND inhparent = 'biz.ai_run_logs'::regclass
    ) THEN
        RETURN false;
    END IF;
    PERFORM runglass.forget_run_rollups(first_hour, last_hour);
    DELETE FROM runglass.run_external_ids WHERE created_at >= first_hour AND created_at < last_hour;
    PERFORM runglass.lock_run_log();
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', partition);
    -- After the lock no writer is under way, so every delta of these rows can be seen.
    DELETE FROM runglass.run_log_deltas WHERE quarter >= first_hour AND quarter < last_hour;
    EXECUTE 'DROP TABLE ' || partition;
    IF (SELECT partdefid = 0 FROM pg_partitioned_table WHERE partrelid = 'biz.ai_run_logs'::regclass) THEN
        PERFORM runglass.fill_run_log_gaps();
    END IF;
    PERFORM runglass.know_run_log_tables();
    RETURN true;
END
$$;
