-- What a write of biz.ai_run_logs adds to runglass.run_log_deltas, and the triggers that do so.

-- As before, with what a run used of its model, and the batch of its job. A job never leaves its batch.
CREATE OR REPLACE FUNCTION runglass.run_log_deltas_sql(source text, sign integer) RETURNS text
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

-- The triggers' functions, as in migration 0002.
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
