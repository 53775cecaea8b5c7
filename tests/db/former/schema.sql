CREATE SCHEMA IF NOT EXISTS biz;
CREATE SCHEMA runglass;
CREATE FUNCTION runglass.add_run_log_part(name text, period tstzrange) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format('CREATE TABLE biz.%I PARTITION OF biz.ai_run_logs %s', name, runglass.run_log_bounds(period));
    PERFORM runglass.count_run_logs_of(format('biz.%I', name)::regclass);
END
$$;
CREATE FUNCTION runglass.app_chain(apps text[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    AS $$SELECT apps::text[]$$;
CREATE FUNCTION runglass.as_member_id(value text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$SELECT value::text$$;
CREATE FUNCTION runglass.as_site_id(value text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$SELECT value::text$$;
CREATE FUNCTION runglass.chain_apps(chain jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT coalesce(array_agg(trim(app) ORDER BY place), '{}') FROM (
        SELECT app, place FROM jsonb_array_elements_text(
            CASE WHEN jsonb_typeof(chain) = 'array' THEN chain ELSE '[]' END
        ) WITH ORDINALITY AS listed(app, place)
        UNION ALL
        SELECT app, place FROM regexp_split_to_table(
            CASE WHEN jsonb_typeof(chain) = 'string' THEN chain #>> '{}' ELSE '' END, '\s*(?:,|->|→|>|;|\|)\s*'
        ) WITH ORDINALITY AS written(app, place)
    ) AS apps WHERE trim(app) <> ''
$$;
CREATE FUNCTION runglass.count_deleted_run_logs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$BEGIN INSERT INTO runglass.run_log_deltas (quarter, tokens, latency_ms_sum, calls, latency_bin, site_id, app_type, status, prompt_tokens, completion_tokens, model, batch_id) SELECT date_bin('15 minutes', created_at, '2000-01-01 00:00:00+00'::timestamptz) AS quarter, -1 * coalesce(tokens_used::bigint, 0) AS tokens, -1 * coalesce(latency_ms::bigint, 0) AS latency_ms_sum, -1 AS calls, CASE WHEN latency_ms IS NULL THEN NULL WHEN latency_ms < 1 THEN 0 ELSE 1 +   ceil(ln(least(latency_ms::float8, 2147483647)) / ln(1.1::float8)) END::smallint AS latency_bin, coalesce(site_id::text, '') COLLATE "C" AS site_id, coalesce(app_type::text, '') COLLATE "C" AS app_type, coalesce(status::text, '') COLLATE "C" AS status, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN -1 * prompt_tokens::bigint END AS prompt_tokens, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN -1 * completion_tokens::bigint END AS completion_tokens, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN model::text END COLLATE "C" AS model, (CASE WHEN run.trigger_job_id IS NOT NULL THEN (SELECT job.batch_id::text FROM biz.ai_trigger_jobs AS job WHERE job.id = run.trigger_job_id) END) COLLATE "C" AS batch_id FROM old_rows AS run WHERE isfinite(created_at); RETURN NULL; END$$;
CREATE FUNCTION runglass.count_inserted_run_logs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$BEGIN INSERT INTO runglass.run_log_deltas (quarter, tokens, latency_ms_sum, calls, latency_bin, site_id, app_type, status, prompt_tokens, completion_tokens, model, batch_id) SELECT date_bin('15 minutes', created_at, '2000-01-01 00:00:00+00'::timestamptz) AS quarter, 1 * coalesce(tokens_used::bigint, 0) AS tokens, 1 * coalesce(latency_ms::bigint, 0) AS latency_ms_sum, 1 AS calls, CASE WHEN latency_ms IS NULL THEN NULL WHEN latency_ms < 1 THEN 0 ELSE 1 +   ceil(ln(least(latency_ms::float8, 2147483647)) / ln(1.1::float8)) END::smallint AS latency_bin, coalesce(site_id::text, '') COLLATE "C" AS site_id, coalesce(app_type::text, '') COLLATE "C" AS app_type, coalesce(status::text, '') COLLATE "C" AS status, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN 1 * prompt_tokens::bigint END AS prompt_tokens, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN 1 * completion_tokens::bigint END AS completion_tokens, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN model::text END COLLATE "C" AS model, (CASE WHEN run.trigger_job_id IS NOT NULL THEN (SELECT job.batch_id::text FROM biz.ai_trigger_jobs AS job WHERE job.id = run.trigger_job_id) END) COLLATE "C" AS batch_id FROM new_rows AS run WHERE isfinite(created_at); RETURN NULL; END$$;
CREATE FUNCTION runglass.count_models_of_a_day() RETURNS timestamp with time zone
    LANGUAGE plpgsql
    AS $$
DECLARE
    day timestamptz;
BEGIN
    IF (SELECT counted_from = '-infinity' FROM runglass.model_usage_start)
        OR NOT pg_try_advisory_xact_lock(runglass.run_rollup_lock())
    THEN
        RETURN NULL;
    END IF;
    PERFORM runglass.lock_run_rollups();
    SELECT max(days) INTO day FROM runglass.run_rollup_days() AS days
    WHERE days < (SELECT counted_from FROM runglass.model_usage_start);
    IF day IS NOT NULL THEN
        PERFORM runglass.rebuild_run_rollups(day, day + interval '24 hours');
    END IF;
    UPDATE runglass.model_usage_start SET counted_from = coalesce(day, '-infinity');
    RETURN day;
END
$$;
CREATE FUNCTION runglass.count_run_logs_of(target regclass) RETURNS void
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION runglass.count_truncated_run_logs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    -- TRUNCATE of a partitioned table fires this once more for each partition, and those hold the rows.
    IF (SELECT relkind FROM pg_class WHERE oid = TG_RELID) <> 'p' THEN
        EXECUTE
            'INSERT INTO runglass.run_log_deltas (quarter, tokens, latency_ms_sum, calls, latency_bin, site_id, app_type,'
            ' status, prompt_tokens, completion_tokens, model, batch_id) '
            || runglass.net_run_log_deltas_sql(runglass.run_log_deltas_sql(TG_RELID::regclass::text, -1));
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION runglass.count_updated_run_logs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$BEGIN INSERT INTO runglass.run_log_deltas (quarter, tokens, latency_ms_sum, calls, latency_bin, site_id, app_type, status, prompt_tokens, completion_tokens, model, batch_id) SELECT quarter, sum(tokens), sum(latency_ms_sum), sum(calls), latency_bin, site_id, app_type, status, sum(prompt_tokens), sum(completion_tokens), model, batch_id FROM (SELECT date_bin('15 minutes', created_at, '2000-01-01 00:00:00+00'::timestamptz) AS quarter, 1 * coalesce(tokens_used::bigint, 0) AS tokens, 1 * coalesce(latency_ms::bigint, 0) AS latency_ms_sum, 1 AS calls, CASE WHEN latency_ms IS NULL THEN NULL WHEN latency_ms < 1 THEN 0 ELSE 1 +   ceil(ln(least(latency_ms::float8, 2147483647)) / ln(1.1::float8)) END::smallint AS latency_bin, coalesce(site_id::text, '') COLLATE "C" AS site_id, coalesce(app_type::text, '') COLLATE "C" AS app_type, coalesce(status::text, '') COLLATE "C" AS status, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN 1 * prompt_tokens::bigint END AS prompt_tokens, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN 1 * completion_tokens::bigint END AS completion_tokens, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN model::text END COLLATE "C" AS model, (CASE WHEN run.trigger_job_id IS NOT NULL THEN (SELECT job.batch_id::text FROM biz.ai_trigger_jobs AS job WHERE job.id = run.trigger_job_id) END) COLLATE "C" AS batch_id FROM new_rows AS run WHERE isfinite(created_at) UNION ALL SELECT date_bin('15 minutes', created_at, '2000-01-01 00:00:00+00'::timestamptz) AS quarter, -1 * coalesce(tokens_used::bigint, 0) AS tokens, -1 * coalesce(latency_ms::bigint, 0) AS latency_ms_sum, -1 AS calls, CASE WHEN latency_ms IS NULL THEN NULL WHEN latency_ms < 1 THEN 0 ELSE 1 +   ceil(ln(least(latency_ms::float8, 2147483647)) / ln(1.1::float8)) END::smallint AS latency_bin, coalesce(site_id::text, '') COLLATE "C" AS site_id, coalesce(app_type::text, '') COLLATE "C" AS app_type, coalesce(status::text, '') COLLATE "C" AS status, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN -1 * prompt_tokens::bigint END AS prompt_tokens, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN -1 * completion_tokens::bigint END AS completion_tokens, CASE WHEN model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL THEN model::text END COLLATE "C" AS model, (CASE WHEN run.trigger_job_id IS NOT NULL THEN (SELECT job.batch_id::text FROM biz.ai_trigger_jobs AS job WHERE job.id = run.trigger_job_id) END) COLLATE "C" AS batch_id FROM old_rows AS run WHERE isfinite(created_at)) AS changes GROUP BY quarter, latency_bin, site_id, app_type, status, model, batch_id HAVING sum(calls) <> 0 OR sum(tokens) <> 0 OR sum(latency_ms_sum) <> 0   OR sum(prompt_tokens) <> 0 OR sum(completion_tokens) <> 0; RETURN NULL; END$$;
CREATE FUNCTION runglass.day_of(hour timestamp with time zone) RETURNS TABLE(day timestamp with time zone, part integer)
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT date_bin('24 hours', hour, '2000-01-01 00:00:00+00'::timestamptz),
        extract(hour FROM hour AT TIME ZONE 'UTC')::integer / 6
$$;
CREATE FUNCTION runglass.drop_run_log_partition(month date) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
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
    RETURN true;
END
$$;
CREATE FUNCTION runglass.enqueue_job(pending_job bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank)
    SELECT id, site_id::text, runglass.chain_apps(to_jsonb(app_chain)), 0
    FROM biz.ai_trigger_jobs WHERE id = pending_job AND status = 'pending'
    ON CONFLICT DO NOTHING;
    PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[
        ROW('work', 'admit', 100, NULL, NULL, '{}', NULL)::procrastinate.procrastinate_job_to_defer_v1
    ]);
END
$$;
CREATE FUNCTION runglass.ensure_run_log_partitions(first_day date, last_day date) RETURNS integer
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE
    parent regclass := 'biz.ai_run_logs';
    month timestamp := date_trunc('month', first_day::timestamp);
    wanted tstzrange;
    stretch record;
    made integer := 0;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = parent) <> 'p' THEN
        RETURN 0;
    END IF;
    IF (SELECT partdefid <> 0 FROM pg_partitioned_table WHERE partrelid = parent) THEN
        RETURN runglass.ensure_run_log_partitions_beside_rest(first_day, last_day);
    END IF;
    IF (SELECT range_agg(period) FROM runglass.run_log_parts()) IS DISTINCT FROM tstzmultirange(tstzrange(NULL, NULL)) THEN
        PERFORM runglass.lock_run_log();
        PERFORM runglass.fill_run_log_gaps();
    END IF;
    WHILE month <= last_day LOOP
        wanted := tstzrange(month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        IF to_regclass('biz.ai_run_logs_' || to_char(month, 'YYYY_MM')) IS NULL THEN
            PERFORM runglass.lock_run_log();
            -- Another server may have made it before we had the lock: then no stretch has it.
            SELECT * INTO stretch FROM runglass.run_log_parts() WHERE is_stretch AND period @> wanted;
            IF FOUND AND runglass.split_run_log_stretch(stretch.part, stretch.period, wanted) THEN
                made := made + 1;
            END IF;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END
$$;
CREATE FUNCTION runglass.ensure_run_log_partitions_beside_rest(first_day date, last_day date) RETURNS integer
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION runglass.fill_run_log_gaps(reserved tstzrange DEFAULT NULL::tstzrange) RETURNS void
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION runglass.fold_run_log_deltas(most integer DEFAULT 100000, wait boolean DEFAULT false) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION runglass.forget_run_rollups(first_hour timestamp with time zone, last_hour timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF first_hour <> date_trunc('day', first_hour, 'UTC') OR last_hour <> date_trunc('day', last_hour, 'UTC') THEN
        RAISE EXCEPTION 'the roll-ups of run logs are forgotten by whole days of UTC';
    END IF;
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
    DELETE FROM runglass.model_usage WHERE hour >= first_hour AND hour < last_hour;
END
$$;
CREATE FUNCTION runglass.json_instant(value timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
            SELECT CASE
                WHEN value >= '0001-01-01' AND value < '10000-01-01' THEN CASE
                    WHEN value::timestamptz(5) <> value THEN json_scalar(value)::text
                    ELSE '"' || replace(to_char(value, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '.000000', '') || '+00:00"'
                END
            END
            $$;
CREATE FUNCTION runglass.json_string(value text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$SELECT json_scalar(value)::text$$;
CREATE FUNCTION runglass.lock_run_log() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- A partition that was empty before the lock may hold a row now; an older snapshot would not show it.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the partitions of run logs are changed at READ COMMITTED only';
    END IF;
    LOCK TABLE ONLY biz.ai_run_logs IN ACCESS EXCLUSIVE MODE;
END
$$;
CREATE FUNCTION runglass.lock_run_rollups() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- What is done under the lock must see what its last holder committed.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the roll-ups of run logs are changed at READ COMMITTED only';
    END IF;
    PERFORM pg_advisory_xact_lock(runglass.run_rollup_lock());
END
$$;
CREATE FUNCTION runglass.move_run_logs(target regclass, statement text) RETURNS void
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION runglass.net_run_log_deltas_sql(changes text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT format(
        'SELECT quarter, sum(tokens), sum(latency_ms_sum), sum(calls), latency_bin, site_id, app_type, status,'
        ' sum(prompt_tokens), sum(completion_tokens), model, batch_id'
        ' FROM (%s) AS changes'
        ' GROUP BY quarter, latency_bin, site_id, app_type, status, model, batch_id'
        ' HAVING sum(calls) <> 0 OR sum(tokens) <> 0 OR sum(latency_ms_sum) <> 0'
        '   OR sum(prompt_tokens) <> 0 OR sum(completion_tokens) <> 0',
        changes
    )
$$;
CREATE FUNCTION runglass.rebuild_run_rollups(first_hour timestamp with time zone, last_hour timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
    -- In the column's own type, so that an index on it serves.
    kind text := (
        SELECT format_type(atttypid, NULL) FROM pg_attribute
        WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'created_at'
    );
BEGIN
    PERFORM runglass.lock_run_rollups();
    PERFORM runglass.forget_run_rollups(first_hour, last_hour);
    DELETE FROM runglass.batch_usage WHERE quarter >= first_hour AND quarter < last_hour;
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
$_$;
CREATE FUNCTION runglass.rebuild_run_totals() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM runglass.lock_run_rollups();
    DELETE FROM runglass.run_totals;
    INSERT INTO runglass.run_totals
    SELECT site_id, app_type, status, sum(calls), sum(tokens) FROM runglass.run_usage WHERE level = 0 GROUP BY 1, 2, 3;
    UPDATE runglass.model_usage_start SET counted_from = '-infinity';
END
$$;
CREATE FUNCTION runglass.rehouse_run_logs(source regclass, homes tstzrange[], wanted tstzrange DEFAULT NULL::tstzrange, most bigint DEFAULT NULL::bigint) RETURNS boolean
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $_$
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
    EXECUTE format('ALTER TABLE biz.ai_run_logs ATTACH PARTITION %s %s', source, runglass.run_log_bounds(home));
    RETURN true;
END
$_$;
CREATE FUNCTION runglass.roll_up_run_logs(source text) RETURNS bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
    rolled bigint;
    empty_usage tid[];
    empty_latency tid[];
    empty_models tid[];
    empty_batches tid[];
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
    usage_hours AS MATERIALIZED (
        SELECT grouping(site_id, app_type)::smallint AS level, coalesce(site_id, '') AS site_id, hour,
            coalesce(app_type, '') AS app_type, status,
            sum(calls) AS calls,
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0) AS calls_15,
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0) AS calls_30,
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0) AS calls_45,
            sum(tokens) AS tokens,
            coalesce(sum(tokens) FILTER (WHERE minute < 15), 0) AS tokens_15,
            coalesce(sum(tokens) FILTER (WHERE minute < 30), 0) AS tokens_30,
            coalesce(sum(tokens) FILTER (WHERE minute < 45), 0) AS tokens_45,
            sum(latency_calls) AS latency_calls,
            coalesce(sum(latency_calls) FILTER (WHERE minute < 15), 0) AS latency_calls_15,
            coalesce(sum(latency_calls) FILTER (WHERE minute < 30), 0) AS latency_calls_30,
            coalesce(sum(latency_calls) FILTER (WHERE minute < 45), 0) AS latency_calls_45,
            sum(latency_ms_sum) AS latency_ms_sum,
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 15), 0) AS latency_ms_sum_15,
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 30), 0) AS latency_ms_sum_30,
            coalesce(sum(latency_ms_sum) FILTER (WHERE minute < 45), 0) AS latency_ms_sum_45
        FROM quarters
        GROUP BY GROUPING SETS (
            (hour, site_id, app_type, status), (hour, site_id, status), (hour, app_type, status), (hour, status)
        )
    ),
    usage AS (
        INSERT INTO runglass.run_usage AS old
        SELECT level, site_id, hour, app_type, status,
            calls, calls_15, calls_30, calls_45,
            tokens, tokens_15, tokens_30, tokens_45,
            latency_calls, latency_calls_15, latency_calls_30, latency_calls_45,
            latency_ms_sum, latency_ms_sum_15, latency_ms_sum_30, latency_ms_sum_45
        FROM usage_hours
        UNION ALL
        SELECT level + 4, site_id, day, app_type, status,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE part < 1), 0),
            coalesce(sum(calls) FILTER (WHERE part < 2), 0),
            coalesce(sum(calls) FILTER (WHERE part < 3), 0),
            sum(tokens),
            coalesce(sum(tokens) FILTER (WHERE part < 1), 0),
            coalesce(sum(tokens) FILTER (WHERE part < 2), 0),
            coalesce(sum(tokens) FILTER (WHERE part < 3), 0),
            sum(latency_calls),
            coalesce(sum(latency_calls) FILTER (WHERE part < 1), 0),
            coalesce(sum(latency_calls) FILTER (WHERE part < 2), 0),
            coalesce(sum(latency_calls) FILTER (WHERE part < 3), 0),
            sum(latency_ms_sum),
            coalesce(sum(latency_ms_sum) FILTER (WHERE part < 1), 0),
            coalesce(sum(latency_ms_sum) FILTER (WHERE part < 2), 0),
            coalesce(sum(latency_ms_sum) FILTER (WHERE part < 3), 0)
        FROM usage_hours, runglass.day_of(hour)
        GROUP BY level, site_id, day, app_type, status
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
    latency_hours AS MATERIALIZED (
        SELECT (1 + 2 * grouping(site_id))::smallint AS level, coalesce(site_id, '') AS site_id, hour, latency_bin,
            sum(calls) AS calls,
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0) AS calls_15,
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0) AS calls_30,
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0) AS calls_45
        FROM bins
        GROUP BY GROUPING SETS ((hour, site_id, latency_bin), (hour, latency_bin))
    ),
    latency AS (
        INSERT INTO runglass.run_latency AS old
        SELECT level, site_id, hour, latency_bin,
            calls, calls_15, calls_30, calls_45
        FROM latency_hours
        UNION ALL
        SELECT level + 4, site_id, day, latency_bin,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE part < 1), 0),
            coalesce(sum(calls) FILTER (WHERE part < 2), 0),
            coalesce(sum(calls) FILTER (WHERE part < 3), 0)
        FROM latency_hours, runglass.day_of(hour)
        GROUP BY level, site_id, day, latency_bin
        ORDER BY 1, 2, 3, 4
        ON CONFLICT (level, site_id, hour, latency_bin) DO UPDATE SET
            calls = old.calls + excluded.calls,
            calls_15 = old.calls_15 + excluded.calls_15,
            calls_30 = old.calls_30 + excluded.calls_30,
            calls_45 = old.calls_45 + excluded.calls_45
        RETURNING old.ctid AS row_id,
            0 = ALL (ARRAY[old.calls, old.calls_15, old.calls_30, old.calls_45]) AS empty
    ),
    models AS (
        SELECT date_bin('1 hour', quarter, '2000-01-01 00:00:00+00'::timestamptz) AS hour,
            extract(minute FROM quarter AT TIME ZONE 'UTC')::integer AS minute,
            site_id, app_type, model, sum(calls) AS calls,
            sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens
        FROM source
        WHERE model IS NOT NULL
        GROUP BY quarter, site_id, app_type, model
    ),
    model_hours AS MATERIALIZED (
        SELECT grouping(site_id, app_type)::smallint AS level, coalesce(site_id, '') AS site_id, hour,
            coalesce(app_type, '') AS app_type, model,
            sum(calls) AS calls,
            coalesce(sum(calls) FILTER (WHERE minute < 15), 0) AS calls_15,
            coalesce(sum(calls) FILTER (WHERE minute < 30), 0) AS calls_30,
            coalesce(sum(calls) FILTER (WHERE minute < 45), 0) AS calls_45,
            sum(prompt_tokens) AS prompt_tokens,
            coalesce(sum(prompt_tokens) FILTER (WHERE minute < 15), 0) AS prompt_tokens_15,
            coalesce(sum(prompt_tokens) FILTER (WHERE minute < 30), 0) AS prompt_tokens_30,
            coalesce(sum(prompt_tokens) FILTER (WHERE minute < 45), 0) AS prompt_tokens_45,
            sum(completion_tokens) AS completion_tokens,
            coalesce(sum(completion_tokens) FILTER (WHERE minute < 15), 0) AS completion_tokens_15,
            coalesce(sum(completion_tokens) FILTER (WHERE minute < 30), 0) AS completion_tokens_30,
            coalesce(sum(completion_tokens) FILTER (WHERE minute < 45), 0) AS completion_tokens_45
        FROM models
        GROUP BY GROUPING SETS (
            (hour, site_id, app_type, model), (hour, site_id, model), (hour, app_type, model), (hour, model)
        )
    ),
    model_usage AS (
        INSERT INTO runglass.model_usage AS old
        SELECT level, site_id, hour, app_type, model,
            calls, calls_15, calls_30, calls_45,
            prompt_tokens, prompt_tokens_15, prompt_tokens_30, prompt_tokens_45,
            completion_tokens, completion_tokens_15, completion_tokens_30, completion_tokens_45
        FROM model_hours
        UNION ALL
        SELECT level + 4, site_id, day, app_type, model,
            sum(calls),
            coalesce(sum(calls) FILTER (WHERE part < 1), 0),
            coalesce(sum(calls) FILTER (WHERE part < 2), 0),
            coalesce(sum(calls) FILTER (WHERE part < 3), 0),
            sum(prompt_tokens),
            coalesce(sum(prompt_tokens) FILTER (WHERE part < 1), 0),
            coalesce(sum(prompt_tokens) FILTER (WHERE part < 2), 0),
            coalesce(sum(prompt_tokens) FILTER (WHERE part < 3), 0),
            sum(completion_tokens),
            coalesce(sum(completion_tokens) FILTER (WHERE part < 1), 0),
            coalesce(sum(completion_tokens) FILTER (WHERE part < 2), 0),
            coalesce(sum(completion_tokens) FILTER (WHERE part < 3), 0)
        FROM model_hours, runglass.day_of(hour)
        GROUP BY level, site_id, day, app_type, model
        ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (level, site_id, hour, app_type, model) DO UPDATE SET
            calls = old.calls + excluded.calls,
            calls_15 = old.calls_15 + excluded.calls_15,
            calls_30 = old.calls_30 + excluded.calls_30,
            calls_45 = old.calls_45 + excluded.calls_45,
            prompt_tokens = old.prompt_tokens + excluded.prompt_tokens,
            prompt_tokens_15 = old.prompt_tokens_15 + excluded.prompt_tokens_15,
            prompt_tokens_30 = old.prompt_tokens_30 + excluded.prompt_tokens_30,
            prompt_tokens_45 = old.prompt_tokens_45 + excluded.prompt_tokens_45,
            completion_tokens = old.completion_tokens + excluded.completion_tokens,
            completion_tokens_15 = old.completion_tokens_15 + excluded.completion_tokens_15,
            completion_tokens_30 = old.completion_tokens_30 + excluded.completion_tokens_30,
            completion_tokens_45 = old.completion_tokens_45 + excluded.completion_tokens_45
        RETURNING old.ctid AS row_id,
            0 = ALL (ARRAY[
                old.calls, old.calls_15, old.calls_30, old.calls_45,
                old.prompt_tokens, old.prompt_tokens_15, old.prompt_tokens_30, old.prompt_tokens_45,
                old.completion_tokens, old.completion_tokens_15, old.completion_tokens_30, old.completion_tokens_45
            ]) AS empty
    ),
    batch_usage AS (
        INSERT INTO runglass.batch_usage AS old
        SELECT batch_id, quarter, coalesce(model, ''), sum(calls),
            coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0)
        FROM source
        WHERE batch_id IS NOT NULL
        GROUP BY batch_id, quarter, coalesce(model, '')
        ORDER BY 1, 2, 3
        ON CONFLICT (batch_id, quarter, model) DO UPDATE SET
            calls = old.calls + excluded.calls,
            prompt_tokens = old.prompt_tokens + excluded.prompt_tokens,
            completion_tokens = old.completion_tokens + excluded.completion_tokens
        RETURNING old.ctid AS row_id,
            0 = ALL (ARRAY[old.calls, old.prompt_tokens, old.completion_tokens]) AS empty
    )
    SELECT (SELECT coalesce(sum(deltas), 0) FROM quarters),
        ARRAY(SELECT row_id FROM usage WHERE empty),
        ARRAY(SELECT row_id FROM latency WHERE empty),
        ARRAY(SELECT row_id FROM model_usage WHERE empty),
        ARRAY(SELECT row_id FROM batch_usage WHERE empty)
    $sql$ INTO rolled, empty_usage, empty_latency, empty_models, empty_batches;
    -- Nobody else changes the roll-ups meanwhile, so these are still the rows' places.
    DELETE FROM runglass.run_usage WHERE ctid = ANY (empty_usage);
    DELETE FROM runglass.run_latency WHERE ctid = ANY (empty_latency);
    DELETE FROM runglass.model_usage WHERE ctid = ANY (empty_models);
    DELETE FROM runglass.batch_usage WHERE ctid = ANY (empty_batches);
    RETURN rolled;
END
$_$;
CREATE FUNCTION runglass.run_log_bounds(period tstzrange) RETURNS text
    LANGUAGE sql STABLE
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO, YMD'
    AS $$
    SELECT format(
        'FOR VALUES FROM (%s) TO (%s)',
        coalesce(quote_literal(lower(period)), 'MINVALUE'), coalesce(quote_literal(upper(period)), 'MAXVALUE')
    )
$$;
CREATE FUNCTION runglass.run_log_condition(period tstzrange) RETURNS text
    LANGUAGE sql STABLE
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO, YMD'
    AS $$
    SELECT concat_ws(
        ' AND ', 'true', 'created_at >= ' || quote_literal(lower(period)), 'created_at < ' || quote_literal(upper(period))
    )
$$;
CREATE FUNCTION runglass.run_log_deltas_sql(source text, sign integer) RETURNS text
    LANGUAGE sql STABLE
    AS $_$
    SELECT format(
        'SELECT date_bin(''15 minutes'', %1$s, ''2000-01-01 00:00:00+00''::timestamptz) AS quarter,'
        ' %2$s * coalesce(tokens_used::bigint, 0) AS tokens,'
        ' %2$s * coalesce(latency_ms::bigint, 0) AS latency_ms_sum,'
        ' %2$s AS calls,'
        ' CASE WHEN latency_ms IS NULL THEN NULL WHEN latency_ms < 1 THEN 0 ELSE 1 +'
        '   ceil(ln(least(latency_ms::float8, 2147483647)) / ln(1.1::float8)) END::smallint AS latency_bin,'
        ' coalesce(site_id::text, '''') COLLATE "C" AS site_id,'
        ' coalesce(app_type::text, '''') COLLATE "C" AS app_type,'
        ' coalesce(status::text, '''') COLLATE "C" AS status,'
        ' CASE WHEN %4$s THEN %2$s * prompt_tokens::bigint END AS prompt_tokens,'
        ' CASE WHEN %4$s THEN %2$s * completion_tokens::bigint END AS completion_tokens,'
        ' CASE WHEN %4$s THEN model::text END COLLATE "C" AS model,'
        ' %5$s COLLATE "C" AS batch_id'
        ' FROM %3$s AS run WHERE isfinite(created_at)',
        CASE WHEN moment.atttypid = 'timestamptz'::regtype THEN 'created_at'
            ELSE 'created_at::timestamp AT TIME ZONE ''UTC''' END,
        sign,
        source,
        'model <> '''' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL',
        -- Columns of adopted tables that only happen to have our names must not make a writer fail.
        CASE WHEN jobs.comparable THEN
            '(CASE WHEN run.trigger_job_id IS NOT NULL THEN'
            ' (SELECT job.batch_id::text FROM biz.ai_trigger_jobs AS job WHERE job.id = run.trigger_job_id) END)'
            ELSE 'NULL::text' END
    )
    FROM pg_attribute AS moment, (
        SELECT count(*) = 2 AS comparable FROM pg_attribute
        WHERE (attrelid = 'biz.ai_run_logs'::regclass AND attname = 'trigger_job_id'
            OR attrelid = 'biz.ai_trigger_jobs'::regclass AND attname = 'id')
          AND atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
    ) AS jobs
    WHERE moment.attrelid = 'biz.ai_run_logs'::regclass AND moment.attname = 'created_at'
$_$;
CREATE FUNCTION runglass.run_log_parts() RETURNS TABLE(part regclass, period tstzrange, is_stretch boolean)
    LANGUAGE sql STABLE
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO, YMD'
    AS $_$
    SELECT oid::regclass, tstzrange(bound[1]::timestamptz, bound[2]::timestamptz),
        relname ~ '^ai_run_logs_(before|after|from_[0-9]{4,}_[0-9]{2})(_[0-9]+)?$'
    FROM pg_inherits
    JOIN pg_class ON oid = inhrelid
    LEFT JOIN regexp_match(
        pg_get_expr(relpartbound, oid),
        '^FOR VALUES FROM \((?:MINVALUE|''(.*)'')\) TO \((?:MAXVALUE|''(.*)'')\)$'
    ) AS bound ON true
    WHERE inhparent = 'biz.ai_run_logs'::regclass
$_$;
CREATE FUNCTION runglass.run_log_stretch_name(period tstzrange, part regclass DEFAULT NULL::regclass) RETURNS text
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION runglass.run_rollup_days() RETURNS SETOF timestamp with time zone
    LANGUAGE plpgsql STABLE
    AS $_$
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
        '  UNION SELECT hour FROM runglass.model_usage'
        -- Where the last run of a day went before its day was counted, a batch still lacks it.
        '  UNION SELECT quarter FROM runglass.batch_usage'
        '   WHERE quarter < (SELECT counted_from FROM runglass.model_usage_start)'
        '  UNION SELECT quarter FROM runglass.run_log_deltas) AS counted'
        ' ORDER BY 1',
        CASE WHEN zoned THEN 'timestamptz' ELSE 'timestamp' END,
        CASE WHEN zoned THEN 'day' ELSE 'day AT TIME ZONE ''UTC''' END
    );
END
$_$;
CREATE FUNCTION runglass.run_rollup_lock() RETURNS bigint
    LANGUAGE sql IMMUTABLE
    AS $$SELECT 7864511245002$$;
CREATE FUNCTION runglass.split_run_log_stretch(stretch regclass, period tstzrange, wanted tstzrange) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION runglass.tell_of_access_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_notify('runglass_access', '');
    RETURN NULL;
END
$$;
CREATE TABLE biz.ai_cache (
    id bigint NOT NULL,
    site_id text NOT NULL,
    cache_type text NOT NULL,
    target_id text,
    status text DEFAULT 'valid'::text NOT NULL,
    result jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone
);
ALTER TABLE biz.ai_cache ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME biz.ai_cache_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE SEQUENCE runglass.run_log_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE biz.ai_run_logs (
    id bigint DEFAULT nextval('runglass.run_log_id'::regclass) NOT NULL,
    site_id text NOT NULL,
    app_type text NOT NULL,
    trigger_type text,
    member_id text,
    session_id text,
    request_prompt text,
    response_text text,
    tokens_used bigint DEFAULT 0 NOT NULL,
    latency_ms integer,
    status text DEFAULT 'running'::text NOT NULL,
    error_message text,
    alert_status text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    model text,
    prompt_tokens bigint,
    completion_tokens bigint,
    trigger_job_id bigint,
    external_id text,
    alert_changed_by text,
    alert_changed_at timestamp with time zone
)
PARTITION BY RANGE (created_at);
CREATE TABLE biz.ai_run_logs_before (
    id bigint DEFAULT nextval('runglass.run_log_id'::regclass) CONSTRAINT ai_run_logs_id_not_null NOT NULL,
    site_id text CONSTRAINT ai_run_logs_site_id_not_null NOT NULL,
    app_type text CONSTRAINT ai_run_logs_app_type_not_null NOT NULL,
    trigger_type text,
    member_id text,
    session_id text,
    request_prompt text,
    response_text text,
    tokens_used bigint DEFAULT 0 CONSTRAINT ai_run_logs_tokens_used_not_null NOT NULL,
    latency_ms integer,
    status text DEFAULT 'running'::text CONSTRAINT ai_run_logs_status_not_null NOT NULL,
    error_message text,
    alert_status text,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT ai_run_logs_created_at_not_null NOT NULL,
    finished_at timestamp with time zone,
    model text,
    prompt_tokens bigint,
    completion_tokens bigint,
    trigger_job_id bigint,
    external_id text,
    alert_changed_by text,
    alert_changed_at timestamp with time zone
);
CREATE TABLE biz.ai_trigger_jobs (
    id bigint NOT NULL,
    site_id text NOT NULL,
    event_type text NOT NULL,
    connector_type text,
    member_id text,
    payload jsonb,
    app_chain text[],
    is_forced boolean DEFAULT false NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    error_message text,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    retry_of_id bigint,
    batch_id uuid,
    attempt integer,
    tokens_used bigint,
    reserved_tokens jsonb,
    chain_start integer,
    input_run_id bigint
);
ALTER TABLE biz.ai_trigger_jobs ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME biz.ai_trigger_jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE runglass.api_keys (
    id bigint NOT NULL,
    name text NOT NULL,
    key_hash bytea NOT NULL,
    key_prefix text NOT NULL,
    role text NOT NULL,
    sites text[],
    reads_texts boolean DEFAULT false NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    revoked_by text,
    CONSTRAINT api_keys_key_hash_check CHECK ((length(key_hash) = 32)),
    CONSTRAINT api_keys_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'operator'::text, 'admin'::text]))),
    CONSTRAINT api_keys_sites_check CHECK ((cardinality(sites) > 0))
);
ALTER TABLE runglass.api_keys ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME runglass.api_keys_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE runglass.app_circuits (
    app_type text NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    opened_until timestamp with time zone
)
WITH (fillfactor='50');
CREATE TABLE runglass.audit_log (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    address text,
    action text NOT NULL,
    site_id text,
    target_kind text NOT NULL,
    target_id text,
    before jsonb,
    after jsonb,
    actor_id text
);
ALTER TABLE runglass.audit_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME runglass.audit_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE runglass.batch_usage (
    batch_id text NOT NULL COLLATE pg_catalog."C",
    quarter timestamp with time zone NOT NULL,
    model text NOT NULL COLLATE pg_catalog."C",
    calls bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL
)
WITH (fillfactor='80');
CREATE TABLE runglass.batches (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    site_id text NOT NULL,
    app_types text[] NOT NULL,
    member_ids text[] NOT NULL,
    status text DEFAULT 'estimated'::text NOT NULL,
    estimated_calls integer NOT NULL,
    estimated_tokens bigint NOT NULL,
    app_estimates jsonb NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    confirmed_by text,
    confirmed_at timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    cancelled_by text,
    retry_of_id uuid,
    queued_to bigint DEFAULT 0 NOT NULL,
    is_queued boolean DEFAULT false NOT NULL,
    jobs_succeeded integer,
    jobs_failed integer,
    tokens_used bigint
);
CREATE TABLE runglass.budget_events (
    id bigint NOT NULL,
    budget_id bigint NOT NULL,
    period_start timestamp with time zone NOT NULL,
    threshold smallint NOT NULL,
    site_id text,
    app_type text,
    period text NOT NULL,
    used_tokens bigint NOT NULL,
    limit_tokens bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE runglass.budget_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME runglass.budget_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE runglass.budgets (
    id bigint NOT NULL,
    site_id text,
    app_type text,
    period text NOT NULL,
    soft_limit bigint,
    hard_limit bigint,
    time_zone text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_by text NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT budgets_check CHECK (((soft_limit IS NOT NULL) OR (hard_limit IS NOT NULL))),
    CONSTRAINT budgets_hard_limit_check CHECK ((hard_limit >= 0)),
    CONSTRAINT budgets_period_check CHECK ((period = ANY (ARRAY['daily'::text, 'monthly'::text]))),
    CONSTRAINT budgets_soft_limit_check CHECK ((soft_limit >= 0))
);
ALTER TABLE runglass.budgets ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME runglass.budgets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE runglass.engine_migrations (
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE runglass.idempotency_keys (
    caller text NOT NULL,
    key text NOT NULL,
    mutation text NOT NULL,
    input_hash bytea NOT NULL,
    result jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
CREATE TABLE runglass.installation (
    id uuid DEFAULT gen_random_uuid() NOT NULL
);
CREATE TABLE runglass.job_queue (
    job_id bigint NOT NULL,
    site_id text NOT NULL,
    app_types text[] NOT NULL,
    batch_id uuid,
    rank smallint NOT NULL,
    engine_id bigint,
    holder uuid,
    cancel_requested boolean DEFAULT false NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE runglass.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE runglass.model_prices (
    id bigint NOT NULL,
    model text NOT NULL,
    prompt_price numeric(20,10) NOT NULL,
    completion_price numeric(20,10) NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_by text NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT model_prices_check CHECK ((valid_until > valid_from)),
    CONSTRAINT model_prices_completion_price_check CHECK ((completion_price >= (0)::numeric)),
    CONSTRAINT model_prices_prompt_price_check CHECK ((prompt_price >= (0)::numeric))
);
ALTER TABLE runglass.model_prices ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME runglass.model_prices_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE runglass.model_usage (
    level smallint NOT NULL,
    site_id text NOT NULL COLLATE pg_catalog."C",
    hour timestamp with time zone NOT NULL,
    app_type text NOT NULL COLLATE pg_catalog."C",
    model text NOT NULL COLLATE pg_catalog."C",
    calls bigint NOT NULL,
    calls_15 bigint NOT NULL,
    calls_30 bigint NOT NULL,
    calls_45 bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    prompt_tokens_15 bigint NOT NULL,
    prompt_tokens_30 bigint NOT NULL,
    prompt_tokens_45 bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    completion_tokens_15 bigint NOT NULL,
    completion_tokens_30 bigint NOT NULL,
    completion_tokens_45 bigint NOT NULL
)
WITH (fillfactor='80', parallel_workers='0');
CREATE TABLE runglass.model_usage_start (
    counted_from timestamp with time zone NOT NULL
);
CREATE UNLOGGED TABLE runglass.rate_limits (
    caller text NOT NULL,
    period bigint NOT NULL,
    taken bigint NOT NULL
);
CREATE TABLE runglass.run_external_ids (
    site_id text NOT NULL,
    external_id text NOT NULL,
    run_id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE runglass.run_latency (
    level smallint NOT NULL,
    site_id text NOT NULL COLLATE pg_catalog."C",
    hour timestamp with time zone NOT NULL,
    latency_bin smallint NOT NULL,
    calls bigint NOT NULL,
    calls_15 bigint NOT NULL,
    calls_30 bigint NOT NULL,
    calls_45 bigint NOT NULL
)
WITH (fillfactor='80', parallel_workers='0');
CREATE TABLE runglass.run_log_deltas (
    quarter timestamp with time zone NOT NULL,
    tokens bigint NOT NULL,
    latency_ms_sum bigint NOT NULL,
    calls integer NOT NULL,
    latency_bin smallint,
    site_id text NOT NULL COLLATE pg_catalog."C",
    app_type text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    prompt_tokens bigint,
    completion_tokens bigint,
    model text COLLATE pg_catalog."C",
    batch_id text COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_vacuum_insert_threshold='-1', parallel_workers='0');
CREATE TABLE runglass.run_totals (
    site_id text NOT NULL COLLATE pg_catalog."C",
    app_type text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    calls bigint NOT NULL,
    tokens bigint NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE runglass.run_usage (
    level smallint NOT NULL,
    site_id text NOT NULL COLLATE pg_catalog."C",
    hour timestamp with time zone NOT NULL,
    app_type text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
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
    latency_ms_sum_45 bigint NOT NULL
)
WITH (fillfactor='80', parallel_workers='0');
CREATE TABLE runglass.sessions (
    id bigint NOT NULL,
    session_hash bytea NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    sites text[],
    reads_texts boolean NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT sessions_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'operator'::text, 'admin'::text]))),
    CONSTRAINT sessions_session_hash_check CHECK ((length(session_hash) = 32)),
    CONSTRAINT sessions_sites_check CHECK ((cardinality(sites) > 0))
);
ALTER TABLE runglass.sessions ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME runglass.sessions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE runglass.sign_in_tokens (
    token_hash bytea NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    sites text[],
    reads_texts boolean NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT sign_in_tokens_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'operator'::text, 'admin'::text]))),
    CONSTRAINT sign_in_tokens_sites_check CHECK ((cardinality(sites) > 0)),
    CONSTRAINT sign_in_tokens_token_hash_check CHECK ((length(token_hash) = 32))
);
CREATE TABLE runglass.site_turns (
    site_id text NOT NULL,
    turn bigint NOT NULL
)
WITH (fillfactor='50');
CREATE SEQUENCE runglass.turn
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER TABLE ONLY biz.ai_run_logs ATTACH PARTITION biz.ai_run_logs_before FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
ALTER TABLE ONLY biz.ai_cache
    ADD CONSTRAINT ai_cache_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_run_logs
    ADD CONSTRAINT ai_run_logs_pkey PRIMARY KEY (id, created_at);
ALTER TABLE ONLY biz.ai_run_logs_before
    ADD CONSTRAINT ai_run_logs_before_pkey PRIMARY KEY (id, created_at);
ALTER TABLE ONLY biz.ai_trigger_jobs
    ADD CONSTRAINT ai_trigger_jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runglass.api_keys
    ADD CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash);
ALTER TABLE ONLY runglass.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runglass.app_circuits
    ADD CONSTRAINT app_circuits_pkey PRIMARY KEY (app_type);
ALTER TABLE ONLY runglass.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runglass.batch_usage
    ADD CONSTRAINT batch_usage_pkey PRIMARY KEY (batch_id, quarter, model);
ALTER TABLE ONLY runglass.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runglass.budget_events
    ADD CONSTRAINT budget_events_budget_id_period_start_threshold_key UNIQUE (budget_id, period_start, threshold);
ALTER TABLE ONLY runglass.budget_events
    ADD CONSTRAINT budget_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runglass.budgets
    ADD CONSTRAINT budgets_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runglass.engine_migrations
    ADD CONSTRAINT engine_migrations_pkey PRIMARY KEY (name);
ALTER TABLE ONLY runglass.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (caller, key);
ALTER TABLE ONLY runglass.installation
    ADD CONSTRAINT installation_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runglass.job_queue
    ADD CONSTRAINT job_queue_pkey PRIMARY KEY (job_id);
ALTER TABLE ONLY runglass.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);
ALTER TABLE ONLY runglass.model_prices
    ADD CONSTRAINT model_prices_model_valid_from_key UNIQUE (model, valid_from);
ALTER TABLE ONLY runglass.model_prices
    ADD CONSTRAINT model_prices_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runglass.model_usage
    ADD CONSTRAINT model_usage_pkey PRIMARY KEY (level, site_id, hour, app_type, model);
ALTER TABLE ONLY runglass.rate_limits
    ADD CONSTRAINT rate_limits_pkey PRIMARY KEY (caller);
ALTER TABLE ONLY runglass.run_external_ids
    ADD CONSTRAINT run_external_ids_pkey PRIMARY KEY (site_id, external_id);
ALTER TABLE ONLY runglass.run_latency
    ADD CONSTRAINT run_latency_pkey PRIMARY KEY (level, site_id, hour, latency_bin);
ALTER TABLE ONLY runglass.run_totals
    ADD CONSTRAINT run_totals_pkey PRIMARY KEY (site_id, app_type, status);
ALTER TABLE ONLY runglass.run_usage
    ADD CONSTRAINT run_usage_pkey PRIMARY KEY (level, site_id, hour, app_type, status);
ALTER TABLE ONLY runglass.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runglass.sessions
    ADD CONSTRAINT sessions_session_hash_key UNIQUE (session_hash);
ALTER TABLE ONLY runglass.sign_in_tokens
    ADD CONSTRAINT sign_in_tokens_pkey PRIMARY KEY (token_hash);
ALTER TABLE ONLY runglass.site_turns
    ADD CONSTRAINT site_turns_pkey PRIMARY KEY (site_id);
CREATE INDEX alerts_by_alert_status ON ONLY biz.ai_run_logs USING btree (alert_status, created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND (alert_status IS NOT NULL));
CREATE INDEX ai_run_logs_before_alert_status_created_at_id_idx ON biz.ai_run_logs_before USING btree (alert_status, created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND (alert_status IS NOT NULL));
CREATE INDEX run_logs_by_app ON ONLY biz.ai_run_logs USING btree (app_type, created_at DESC, id DESC);
CREATE INDEX ai_run_logs_before_app_type_created_at_id_idx ON biz.ai_run_logs_before USING btree (app_type, created_at DESC, id DESC);
CREATE INDEX alerts_by_app ON ONLY biz.ai_run_logs USING btree (app_type, created_at DESC, id DESC) WHERE (status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text]));
CREATE INDEX ai_run_logs_before_app_type_created_at_id_idx1 ON biz.ai_run_logs_before USING btree (app_type, created_at DESC, id DESC) WHERE (status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text]));
CREATE INDEX run_logs_newest ON ONLY biz.ai_run_logs USING btree (created_at DESC, id DESC);
CREATE INDEX ai_run_logs_before_created_at_id_idx ON biz.ai_run_logs_before USING btree (created_at DESC, id DESC);
CREATE INDEX run_logs_with_error ON ONLY biz.ai_run_logs USING btree (created_at DESC, id DESC) WHERE (error_message IS NOT NULL);
CREATE INDEX ai_run_logs_before_created_at_id_idx1 ON biz.ai_run_logs_before USING btree (created_at DESC, id DESC) WHERE (error_message IS NOT NULL);
CREATE INDEX alerts_newest ON ONLY biz.ai_run_logs USING btree (created_at DESC, id DESC) WHERE (status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text]));
CREATE INDEX ai_run_logs_before_created_at_id_idx2 ON biz.ai_run_logs_before USING btree (created_at DESC, id DESC) WHERE (status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text]));
CREATE INDEX pending_alerts_newest ON ONLY biz.ai_run_logs USING btree (created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND ((alert_status IS NULL) OR (alert_status = 'pending'::text)));
CREATE INDEX ai_run_logs_before_created_at_id_idx3 ON biz.ai_run_logs_before USING btree (created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND ((alert_status IS NULL) OR (alert_status = 'pending'::text)));
CREATE INDEX run_logs_by_member ON ONLY biz.ai_run_logs USING btree (member_id, created_at DESC, id DESC) WHERE (member_id IS NOT NULL);
CREATE INDEX ai_run_logs_before_member_id_created_at_id_idx ON biz.ai_run_logs_before USING btree (member_id, created_at DESC, id DESC) WHERE (member_id IS NOT NULL);
CREATE INDEX alerts_by_member ON ONLY biz.ai_run_logs USING btree (member_id, created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND (member_id IS NOT NULL));
CREATE INDEX ai_run_logs_before_member_id_created_at_id_idx1 ON biz.ai_run_logs_before USING btree (member_id, created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND (member_id IS NOT NULL));
CREATE INDEX run_logs_by_model ON ONLY biz.ai_run_logs USING btree (model, created_at DESC, id DESC) WHERE (model IS NOT NULL);
CREATE INDEX ai_run_logs_before_model_created_at_id_idx ON biz.ai_run_logs_before USING btree (model, created_at DESC, id DESC) WHERE (model IS NOT NULL);
CREATE INDEX run_logs_by_session ON ONLY biz.ai_run_logs USING btree (session_id, created_at DESC, id DESC) WHERE (session_id IS NOT NULL);
CREATE INDEX ai_run_logs_before_session_id_created_at_id_idx ON biz.ai_run_logs_before USING btree (session_id, created_at DESC, id DESC) WHERE (session_id IS NOT NULL);
CREATE INDEX alerts_by_site_alert_status ON ONLY biz.ai_run_logs USING btree (site_id, alert_status, created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND (alert_status IS NOT NULL));
CREATE INDEX ai_run_logs_before_site_id_alert_status_created_at_id_idx ON biz.ai_run_logs_before USING btree (site_id, alert_status, created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND (alert_status IS NOT NULL));
CREATE INDEX run_logs_by_site_app ON ONLY biz.ai_run_logs USING btree (site_id, app_type, created_at DESC, id DESC);
CREATE INDEX ai_run_logs_before_site_id_app_type_created_at_id_idx ON biz.ai_run_logs_before USING btree (site_id, app_type, created_at DESC, id DESC);
CREATE INDEX alerts_by_site_app ON ONLY biz.ai_run_logs USING btree (site_id, app_type, created_at DESC, id DESC) WHERE (status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text]));
CREATE INDEX ai_run_logs_before_site_id_app_type_created_at_id_idx1 ON biz.ai_run_logs_before USING btree (site_id, app_type, created_at DESC, id DESC) WHERE (status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text]));
CREATE INDEX run_logs_by_site ON ONLY biz.ai_run_logs USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX ai_run_logs_before_site_id_created_at_id_idx ON biz.ai_run_logs_before USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX alerts_by_site ON ONLY biz.ai_run_logs USING btree (site_id, created_at DESC, id DESC) WHERE (status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text]));
CREATE INDEX ai_run_logs_before_site_id_created_at_id_idx1 ON biz.ai_run_logs_before USING btree (site_id, created_at DESC, id DESC) WHERE (status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text]));
CREATE INDEX pending_alerts_by_site ON ONLY biz.ai_run_logs USING btree (site_id, created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND ((alert_status IS NULL) OR (alert_status = 'pending'::text)));
CREATE INDEX ai_run_logs_before_site_id_created_at_id_idx2 ON biz.ai_run_logs_before USING btree (site_id, created_at DESC, id DESC) WHERE ((status = ANY (ARRAY['failed'::text, 'timeout'::text, 'circuit_open'::text])) AND ((alert_status IS NULL) OR (alert_status = 'pending'::text)));
CREATE INDEX run_logs_by_site_latency ON ONLY biz.ai_run_logs USING btree (site_id, latency_ms) WHERE (latency_ms IS NOT NULL);
CREATE INDEX ai_run_logs_before_site_id_latency_ms_idx ON biz.ai_run_logs_before USING btree (site_id, latency_ms) WHERE (latency_ms IS NOT NULL);
CREATE INDEX run_logs_by_site_tokens ON ONLY biz.ai_run_logs USING btree (site_id, tokens_used) WHERE (tokens_used IS NOT NULL);
CREATE INDEX ai_run_logs_before_site_id_tokens_used_idx ON biz.ai_run_logs_before USING btree (site_id, tokens_used) WHERE (tokens_used IS NOT NULL);
CREATE INDEX run_logs_by_other_status ON ONLY biz.ai_run_logs USING btree (status, created_at DESC, id DESC) WHERE (status <> 'success'::text);
CREATE INDEX ai_run_logs_before_status_created_at_id_idx ON biz.ai_run_logs_before USING btree (status, created_at DESC, id DESC) WHERE (status <> 'success'::text);
CREATE INDEX run_logs_by_job ON ONLY biz.ai_run_logs USING btree (trigger_job_id, created_at DESC, id DESC) WHERE (trigger_job_id IS NOT NULL);
CREATE INDEX ai_run_logs_before_trigger_job_id_created_at_id_idx ON biz.ai_run_logs_before USING btree (trigger_job_id, created_at DESC, id DESC) WHERE (trigger_job_id IS NOT NULL);
CREATE INDEX run_logs_by_trigger_type ON ONLY biz.ai_run_logs USING btree (trigger_type, created_at DESC, id DESC) WHERE (trigger_type IS NOT NULL);
CREATE INDEX ai_run_logs_before_trigger_type_created_at_id_idx ON biz.ai_run_logs_before USING btree (trigger_type, created_at DESC, id DESC) WHERE (trigger_type IS NOT NULL);
CREATE INDEX cache_by_site ON biz.ai_cache USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX cache_by_target ON biz.ai_cache USING btree (site_id, cache_type, target_id);
CREATE INDEX cache_newest ON biz.ai_cache USING btree (created_at DESC, id DESC);
CREATE INDEX trigger_jobs_by_batch ON biz.ai_trigger_jobs USING btree (batch_id, created_at, id) INCLUDE (status, tokens_used) WHERE (batch_id IS NOT NULL);
CREATE INDEX trigger_jobs_by_member ON biz.ai_trigger_jobs USING btree (member_id, created_at, id) WHERE (member_id IS NOT NULL);
CREATE INDEX trigger_jobs_by_retry_of ON biz.ai_trigger_jobs USING btree (retry_of_id, created_at DESC, id DESC) WHERE (retry_of_id IS NOT NULL);
CREATE INDEX trigger_jobs_by_site ON biz.ai_trigger_jobs USING btree (site_id, created_at, id);
CREATE INDEX trigger_jobs_by_status ON biz.ai_trigger_jobs USING btree (status, created_at, id);
CREATE INDEX trigger_jobs_newest ON biz.ai_trigger_jobs USING btree (created_at, id);
CREATE INDEX trigger_jobs_reserving ON biz.ai_trigger_jobs USING btree (site_id) WHERE ((reserved_tokens IS NOT NULL) AND (status = ANY (ARRAY['pending'::text, 'running'::text])));
CREATE INDEX api_keys_newest ON runglass.api_keys USING btree (created_at DESC, id DESC);
CREATE INDEX audit_log_by_actor ON runglass.audit_log USING btree (actor, created_at DESC, id DESC);
CREATE INDEX audit_log_by_site ON runglass.audit_log USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX audit_log_by_target ON runglass.audit_log USING btree (target_kind, target_id, created_at DESC, id DESC);
CREATE INDEX audit_log_newest ON runglass.audit_log USING btree (created_at DESC, id DESC);
CREATE INDEX batch_usage_quarters ON runglass.batch_usage USING brin (quarter) WITH (pages_per_range='32', autosummarize='on');
CREATE INDEX batches_by_retry_of ON runglass.batches USING btree (retry_of_id) WHERE (retry_of_id IS NOT NULL);
CREATE INDEX batches_by_site ON runglass.batches USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX batches_newest ON runglass.batches USING btree (created_at DESC, id DESC);
CREATE INDEX batches_unfinished ON runglass.batches USING btree (confirmed_at, id) WHERE ((status = ANY (ARRAY['confirmed'::text, 'running'::text, 'cancelled'::text])) AND (finished_at IS NULL));
CREATE INDEX budget_events_newest ON runglass.budget_events USING btree (created_at DESC, id DESC);
CREATE UNIQUE INDEX budgets_by_subject ON runglass.budgets USING btree (COALESCE(site_id, ''::text), COALESCE(app_type, ''::text), period);
CREATE INDEX budgets_newest ON runglass.budgets USING btree (created_at DESC, id DESC);
CREATE INDEX idempotency_keys_expiry ON runglass.idempotency_keys USING btree (expires_at);
CREATE INDEX job_queue_admitted ON runglass.job_queue USING btree (engine_id) WHERE (engine_id IS NOT NULL);
CREATE INDEX job_queue_by_batch ON runglass.job_queue USING btree (batch_id) WHERE (batch_id IS NOT NULL);
CREATE INDEX job_queue_waiting ON runglass.job_queue USING btree (site_id, app_types, rank, job_id) WHERE (engine_id IS NULL);
CREATE INDEX model_prices_newest ON runglass.model_prices USING btree (created_at DESC, id DESC);
CREATE INDEX model_usage_hours ON runglass.model_usage USING brin (hour) WITH (pages_per_range='32', autosummarize='on');
CREATE INDEX run_latency_hours ON runglass.run_latency USING brin (hour) WITH (pages_per_range='32', autosummarize='on');
CREATE INDEX run_totals_by_app ON runglass.run_totals USING btree (app_type);
CREATE INDEX run_usage_hours ON runglass.run_usage USING brin (hour) WITH (pages_per_range='32', autosummarize='on');
ALTER INDEX biz.alerts_by_alert_status ATTACH PARTITION biz.ai_run_logs_before_alert_status_created_at_id_idx;
ALTER INDEX biz.run_logs_by_app ATTACH PARTITION biz.ai_run_logs_before_app_type_created_at_id_idx;
ALTER INDEX biz.alerts_by_app ATTACH PARTITION biz.ai_run_logs_before_app_type_created_at_id_idx1;
ALTER INDEX biz.run_logs_newest ATTACH PARTITION biz.ai_run_logs_before_created_at_id_idx;
ALTER INDEX biz.run_logs_with_error ATTACH PARTITION biz.ai_run_logs_before_created_at_id_idx1;
ALTER INDEX biz.alerts_newest ATTACH PARTITION biz.ai_run_logs_before_created_at_id_idx2;
ALTER INDEX biz.pending_alerts_newest ATTACH PARTITION biz.ai_run_logs_before_created_at_id_idx3;
ALTER INDEX biz.run_logs_by_member ATTACH PARTITION biz.ai_run_logs_before_member_id_created_at_id_idx;
ALTER INDEX biz.alerts_by_member ATTACH PARTITION biz.ai_run_logs_before_member_id_created_at_id_idx1;
ALTER INDEX biz.run_logs_by_model ATTACH PARTITION biz.ai_run_logs_before_model_created_at_id_idx;
ALTER INDEX biz.ai_run_logs_pkey ATTACH PARTITION biz.ai_run_logs_before_pkey;
ALTER INDEX biz.run_logs_by_session ATTACH PARTITION biz.ai_run_logs_before_session_id_created_at_id_idx;
ALTER INDEX biz.alerts_by_site_alert_status ATTACH PARTITION biz.ai_run_logs_before_site_id_alert_status_created_at_id_idx;
ALTER INDEX biz.run_logs_by_site_app ATTACH PARTITION biz.ai_run_logs_before_site_id_app_type_created_at_id_idx;
ALTER INDEX biz.alerts_by_site_app ATTACH PARTITION biz.ai_run_logs_before_site_id_app_type_created_at_id_idx1;
ALTER INDEX biz.run_logs_by_site ATTACH PARTITION biz.ai_run_logs_before_site_id_created_at_id_idx;
ALTER INDEX biz.alerts_by_site ATTACH PARTITION biz.ai_run_logs_before_site_id_created_at_id_idx1;
ALTER INDEX biz.pending_alerts_by_site ATTACH PARTITION biz.ai_run_logs_before_site_id_created_at_id_idx2;
ALTER INDEX biz.run_logs_by_site_latency ATTACH PARTITION biz.ai_run_logs_before_site_id_latency_ms_idx;
ALTER INDEX biz.run_logs_by_site_tokens ATTACH PARTITION biz.ai_run_logs_before_site_id_tokens_used_idx;
ALTER INDEX biz.run_logs_by_other_status ATTACH PARTITION biz.ai_run_logs_before_status_created_at_id_idx;
ALTER INDEX biz.run_logs_by_job ATTACH PARTITION biz.ai_run_logs_before_trigger_job_id_created_at_id_idx;
ALTER INDEX biz.run_logs_by_trigger_type ATTACH PARTITION biz.ai_run_logs_before_trigger_type_created_at_id_idx;
CREATE TRIGGER count_deleted AFTER DELETE ON biz.ai_run_logs REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_deleted_run_logs();
CREATE TRIGGER count_deleted AFTER DELETE ON biz.ai_run_logs_before REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_deleted_run_logs();
CREATE TRIGGER count_inserted AFTER INSERT ON biz.ai_run_logs REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_inserted_run_logs();
CREATE TRIGGER count_inserted AFTER INSERT ON biz.ai_run_logs_before REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_inserted_run_logs();
CREATE TRIGGER count_truncated BEFORE TRUNCATE ON biz.ai_run_logs FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_truncated_run_logs();
CREATE TRIGGER count_truncated BEFORE TRUNCATE ON biz.ai_run_logs_before FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_truncated_run_logs();
CREATE TRIGGER count_updated AFTER UPDATE ON biz.ai_run_logs REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_updated_run_logs();
CREATE TRIGGER count_updated AFTER UPDATE ON biz.ai_run_logs_before REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION runglass.count_updated_run_logs();
CREATE TRIGGER api_keys_changed AFTER DELETE OR UPDATE OF key_hash, name, role, sites, reads_texts, expires_at, revoked_at OR TRUNCATE ON runglass.api_keys FOR EACH STATEMENT EXECUTE FUNCTION runglass.tell_of_access_change();
CREATE TRIGGER sessions_changed AFTER DELETE OR UPDATE OR TRUNCATE ON runglass.sessions FOR EACH STATEMENT EXECUTE FUNCTION runglass.tell_of_access_change();
