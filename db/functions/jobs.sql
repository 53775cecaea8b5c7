-- What is read from and written to biz.ai_trigger_jobs, whatever types its columns have.

-- Builds an app_chain value in whatever type the column has (text[] here; text, json or jsonb where adopted).
DO $$
DECLARE
    chain_type text := (
        SELECT format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = 'biz.ai_trigger_jobs'::regclass AND attname = 'app_chain'
    );
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION runglass.app_chain(apps text[]) RETURNS %s LANGUAGE sql IMMUTABLE AS %L',
        chain_type,
        CASE
            WHEN chain_type IN ('json', 'jsonb') THEN format('SELECT to_jsonb(apps)::%s', chain_type)
            WHEN chain_type LIKE '%[]' THEN format('SELECT apps::%s', chain_type)
            ELSE 'SELECT array_to_string(apps, '','')'
        END
    );
END
$$;

-- A column as jsonb; as its text where it is of type json and holds what jsonb cannot, such as \u0000, so that one row stops
-- neither a page nor the queue.
CREATE OR REPLACE FUNCTION runglass.readable_json(value anyelement) RETURNS jsonb LANGUAGE sql STABLE AS
'SELECT to_jsonb(value)';
CREATE OR REPLACE FUNCTION runglass.readable_json(value json) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN value::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_jsonb(value::text);
END
$$;

-- The apps of a chain in order, whatever type an adopted app_chain column has (give it readable_json(app_chain)).
CREATE OR REPLACE FUNCTION runglass.chain_apps(chain jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
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

-- A site and a member as their columns have them (text here; integers where adopted), for set-based inserts.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute
        WHERE attrelid = 'biz.ai_trigger_jobs'::regclass AND attname IN ('site_id', 'member_id')
    LOOP
        EXECUTE format(
            'CREATE OR REPLACE FUNCTION runglass.as_%I(value text) RETURNS %s LANGUAGE sql IMMUTABLE AS %L',
            wanted.attname, wanted.type, format('SELECT value::%s', wanted.type)
        );
    END LOOP;
END
$$;

-- For services that write jobs into the table themselves: hands a pending job to our workers, in the caller's
-- transaction. Without this, a job stays with whatever dispatcher reads the table.
CREATE OR REPLACE FUNCTION runglass.enqueue_job(pending_job bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank)
    SELECT id, site_id::text, runglass.chain_apps(runglass.readable_json(app_chain)), 0
    FROM biz.ai_trigger_jobs WHERE id = pending_job AND status = 'pending'
    ON CONFLICT DO NOTHING;
    PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[
        ROW('work', 'admit', 100, NULL, NULL, '{}', NULL)::procrastinate.procrastinate_job_to_defer_v1
    ]);
END
$$;
