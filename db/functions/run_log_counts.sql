-- What a write of biz.ai_run_logs adds to runglass.run_log_deltas, and the triggers that do so.

-- A column of biz.ai_run_logs as a whole number that bigint holds, whatever its type; NULL where it is none: NaN, infinite,
-- larger, no number, or no such column.
CREATE OR REPLACE FUNCTION runglass.whole_number_sql(name text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT coalesce((
        SELECT format(
            CASE
                WHEN atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) THEN '%1$I::bigint'
                WHEN atttypid = 'numeric'::regtype THEN
                    '(CASE WHEN %1$I BETWEEN -9223372036854775807 AND 9223372036854775807 THEN %1$I::bigint END)'
                -- The largest of double precision below the end of bigint.
                WHEN atttypid IN ('real'::regtype, 'double precision'::regtype) THEN
                    '(CASE WHEN %1$I BETWEEN -9223372036854774784::float8 AND 9223372036854774784::float8'
                    ' THEN %1$I::bigint END)'
                ELSE
                    '(CASE WHEN %1$I::text ~ ''^\s*[-+]?[0-9]{1,18}(\.[0-9]*)?\s*$'''
                    ' THEN round(%1$I::text::numeric)::bigint END)'
            END,
            attname
        )
        FROM pg_attribute WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = name AND NOT attisdropped
    ), 'NULL::bigint')
$$;

-- The SELECT that turns rows of biz.ai_run_logs (or a partition, or a transition table) into deltas, with what a run used
-- of its model, and the batch of its job. A job never leaves its batch. It must not fail whatever a service writes into an
-- adopted table, because that would be the service's own write: what is no number counts as none, and a run without a time
-- between the years 2 and 9998, which is what Python and every zone can tell, is not counted. Names are cut, because the
-- roll-ups' keys must fit into an index. A timestamp without zone is read in the stored zone whatever the writer's
-- session says.
-- Here and elsewhere bins are told from the year 1, since PostgreSQL 16.2 puts a time on a bound before the origin into the
-- bin before it.
CREATE OR REPLACE FUNCTION runglass.run_log_deltas_sql(source text, sign integer) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(
        'SELECT date_bin(''15 minutes'', %1$s, ''0001-01-01 00:00:00+00''::timestamptz) AS quarter,'
        ' %2$s * coalesce(%6$s, 0)::numeric AS tokens,'
        ' %2$s * coalesce(%7$s, 0)::numeric AS latency_ms_sum,'
        ' %2$s AS calls,'
        ' (CASE WHEN %7$s IS NULL THEN NULL WHEN %8$s < 1 THEN 0'
        '   ELSE 1 + ceil(ln(%8$s::float8) / ln(1.1::float8)) END)::smallint AS latency_bin,'
        ' left(coalesce(site_id::text, ''''), 200) COLLATE "C" AS site_id,'
        ' left(coalesce(app_type::text, ''''), 200) COLLATE "C" AS app_type,'
        ' left(coalesce(status::text, ''''), 200) COLLATE "C" AS status,'
        ' CASE WHEN %4$s THEN %2$s * %9$s::numeric END AS prompt_tokens,'
        ' CASE WHEN %4$s THEN %2$s * %10$s::numeric END AS completion_tokens,'
        ' CASE WHEN %4$s THEN left(model::text, 200) END COLLATE "C" AS model,'
        ' %5$s COLLATE "C" AS batch_id'
        ' FROM %3$s AS run'
        ' WHERE %1$s >= ''0002-01-01 00:00:00+00''::timestamptz AND %1$s < ''9999-01-01 00:00:00+00''::timestamptz',
        CASE WHEN moment.atttypid = 'timestamptz'::regtype THEN 'created_at'
            ELSE '(created_at::timestamp AT TIME ZONE runglass.stored_time_zone())' END,
        sign,
        source,
        -- What a run in flight has used so far is no cost yet.
        format(
            'model::text <> '''' AND %s IS NOT NULL AND %s IS NOT NULL'
            ' AND coalesce(status::text, '''') NOT IN (''pending'', ''running'')',
            number.prompt, number.completion
        ),
        -- Columns of adopted tables that only happen to have our names must not make a writer fail.
        CASE WHEN jobs.comparable THEN
            '(CASE WHEN run.trigger_job_id IS NOT NULL THEN'
            ' (SELECT job.batch_id::text FROM biz.ai_trigger_jobs AS job WHERE job.id = run.trigger_job_id) END)'
            ELSE 'NULL::text' END,
        number.tokens,
        number.latency,
        -- With its fraction, where its type has one.
        CASE WHEN number.latency LIKE '%::text%' THEN number.latency ELSE 'latency_ms' END,
        number.prompt,
        number.completion
    )
    FROM pg_attribute AS moment, (
        SELECT count(*) = 2 AS comparable FROM pg_attribute
        WHERE (attrelid = 'biz.ai_run_logs'::regclass AND attname = 'trigger_job_id'
            OR attrelid = 'biz.ai_trigger_jobs'::regclass AND attname = 'id')
          AND atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
    ) AS jobs, (
        SELECT runglass.whole_number_sql('tokens_used') AS tokens, runglass.whole_number_sql('latency_ms') AS latency,
            runglass.whole_number_sql('prompt_tokens') AS prompt,
            runglass.whole_number_sql('completion_tokens') AS completion
    ) AS number
    WHERE moment.attrelid = 'biz.ai_run_logs'::regclass AND moment.attname = 'created_at'
$$;

-- What a statement changed, netted: what comes to nothing is left out.
CREATE OR REPLACE FUNCTION runglass.net_run_log_deltas_sql(changes text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
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

-- The triggers' functions. Definer's rights, because services that write run logs need no right to our schema.
DO $$
DECLARE
    columns text := 'quarter, tokens, latency_ms_sum, calls, latency_bin, site_id, app_type, status,'
        ' prompt_tokens, completion_tokens, model, batch_id';
    head text := 'LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS';
    body text := 'BEGIN INSERT INTO runglass.run_log_deltas (%s) %s; RETURN NULL; END';
    inserted text := runglass.run_log_deltas_sql('new_rows', 1);
    deleted text := runglass.run_log_deltas_sql('old_rows', -1);
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION runglass.count_inserted_run_logs() RETURNS trigger %s %L',
        head, format(body, columns, inserted)
    );
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION runglass.count_deleted_run_logs() RETURNS trigger %s %L',
        head, format(body, columns, deleted)
    );
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION runglass.count_updated_run_logs() RETURNS trigger %s %L',
        head,
        format(body, columns, runglass.net_run_log_deltas_sql(inserted || ' UNION ALL ' || deleted))
    );
END
$$;

CREATE OR REPLACE FUNCTION runglass.count_truncated_run_logs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- A statement's triggers fire for the table that it names, so each partition carries them for writers that name it.
CREATE OR REPLACE FUNCTION runglass.count_run_logs_of(target regclass) RETURNS void
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

-- Lets the next table of the log count its writes, the log itself or one of its partitions, and returns which; NULL where
-- all do.
CREATE OR REPLACE FUNCTION runglass.count_next_run_logs() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    target regclass;
BEGIN
    SELECT oid INTO target FROM pg_class
    WHERE oid IN (SELECT relid FROM pg_partition_tree('biz.ai_run_logs') UNION SELECT 'biz.ai_run_logs'::regclass)
        -- A foreign table cannot carry such triggers.
        AND relkind IN ('r', 'p')
        AND NOT EXISTS (
            SELECT FROM pg_trigger
            WHERE tgrelid = pg_class.oid AND tgfoid = 'runglass.count_inserted_run_logs()'::regprocedure
        )
    ORDER BY relkind, oid LIMIT 1;
    IF target IS NOT NULL THEN
        PERFORM runglass.count_run_logs_of(target);
    END IF;
    RETURN target::text;
END
$$;
