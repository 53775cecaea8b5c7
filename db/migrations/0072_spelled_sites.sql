-- Sites as the columns of an adopted database print them (docs/decisions/spell-each-id-as-its-column-prints-it.md), for the
-- rows that our own tables got before ids were brought into that form.

-- What the sites of the three tables are; like db/sql/column_forms.py, the narrowest where they differ.
CREATE OR REPLACE FUNCTION runglass.type_of_sites() RETURNS text LANGUAGE sql STABLE AS $$
    WITH RECURSIVE types AS (
        SELECT attrelid, atttypid AS id FROM pg_attribute
        WHERE attrelid IN ('biz.ai_run_logs'::regclass, 'biz.ai_trigger_jobs'::regclass, 'biz.ai_cache'::regclass)
          AND attname = 'site_id'
        UNION ALL
        SELECT attrelid, typbasetype FROM types JOIN pg_type ON pg_type.oid = id AND typtype = 'd'
    )
    SELECT typname::text FROM types JOIN pg_type ON pg_type.oid = id
    WHERE typname IN ('int2', 'int4', 'int8', 'numeric', 'uuid')
    ORDER BY array_position(ARRAY['int2', 'int4', 'int8'], typname::text), attrelid LIMIT 1
$$;

-- NULL where the type cannot hold it.
CREATE OR REPLACE FUNCTION runglass.spelled_site(site text, type text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    given text := btrim(site, E' \t\n\r');
    bits integer := CASE type WHEN 'int2' THEN 15 WHEN 'int4' THEN 31 WHEN 'int8' THEN 63 END;
BEGIN
    IF bits IS NOT NULL AND given ~ '^[+-]?[0-9]{1,200}$' THEN
        RETURN CASE WHEN given::numeric BETWEEN -(2::numeric ^ bits) AND 2::numeric ^ bits - 1
            THEN given::numeric::text END;
    ELSIF type = 'numeric' AND given ~ '^[+-]?[0-9]{1,200}(\.[0-9]{1,200})?$' THEN
        RETURN trim_scale(given::numeric)::text;
    ELSIF type = 'uuid' AND given ~ '^\{?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}\}?$' THEN
        RETURN replace(btrim(given, '{}'), '-', '')::uuid::text;
    END IF;
    RETURN CASE WHEN type IS NULL THEN site END;
END
$$;

-- Spells some of the sites of our own tables anew and says what it did; NULL where none is left. `migrate` prints its
-- warnings. Where two rows become one:
-- * of budgets the one stays that had the right spelling, which alone has counted anything; else the one that was
--   changed last;
-- * of external ids the one stays that had the right spelling, else that of the newest run. The other's run stays in the log;
-- * of turns the later one.
CREATE OR REPLACE FUNCTION runglass.spell_stored_sites() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    type text := runglass.type_of_sites();
    name text;
    changed bigint;
    kept bigint;
    removed text;
BEGIN
    IF type IS NULL THEN
        RETURN NULL;
    END IF;

    WITH doubled AS (
        SELECT id, site_id, row_number() OVER (
            PARTITION BY runglass.spelled_site(site_id, type), coalesce(app_type, ''), period
            ORDER BY site_id = runglass.spelled_site(site_id, type) DESC, updated_at DESC, id DESC
        ) AS place
        FROM runglass.budgets WHERE runglass.spelled_site(site_id, type) IS NOT NULL
    ), gone AS (
        DELETE FROM runglass.budgets AS budget USING doubled WHERE budget.id = doubled.id AND place > 1
        RETURNING budget.*
    )
    SELECT string_agg(format('%s budget %s of site %L, %s, soft %s, hard %s', period, id, site_id,
        coalesce('app ' || app_type, 'all apps'), coalesce(soft_limit::text, 'none'),
        coalesce(hard_limit::text, 'none')), '; ' ORDER BY id)
    INTO removed FROM gone;
    IF removed IS NOT NULL THEN
        RAISE WARNING 'removed budgets beside which another one is of the same site: %', removed;
        RETURN 'budgets';
    END IF;

    DELETE FROM runglass.site_turns AS turn USING runglass.site_turns AS other
    WHERE turn.site_id <> other.site_id
      AND runglass.spelled_site(turn.site_id, type) = runglass.spelled_site(other.site_id, type)
      AND (turn.turn, turn.site_id) < (other.turn, other.site_id);

    FOREACH name IN ARRAY ARRAY['budgets', 'budget_events', 'batches', 'job_queue', 'site_turns', 'audit_log'] LOOP
        EXECUTE format(
            'UPDATE runglass.%I SET site_id = runglass.spelled_site(site_id, $1)'
            ' WHERE site_id <> runglass.spelled_site(site_id, $1)', name
        ) USING type;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed > 0 THEN
            RETURN format('spelled the sites of %s %s as their column prints them', changed, name);
        END IF;
    END LOOP;

    FOREACH name IN ARRAY ARRAY['api_keys', 'sign_in_tokens', 'sessions'] LOOP
        EXECUTE format(
            'UPDATE runglass.%I AS own SET sites = spelled.sites FROM runglass.%1$I AS old, LATERAL ('
            ' SELECT array_agg(DISTINCT coalesce(runglass.spelled_site(site, $1), site)) AS sites'
            ' FROM unnest(old.sites) AS site'
            ') AS spelled WHERE own.ctid = old.ctid AND EXISTS ('
            ' SELECT FROM unnest(old.sites) AS site WHERE site <> runglass.spelled_site(site, $1)'
            ')', name
        ) USING type;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed > 0 THEN
            RETURN format('spelled the sites of %s %s as their column prints them', changed, name);
        END IF;
    END LOOP;

    -- There may be millions; the sites among them are found along the index.
    WITH RECURSIVE sites AS (
        (SELECT site_id FROM runglass.run_external_ids ORDER BY site_id LIMIT 1)
        UNION ALL
        SELECT (SELECT site_id FROM runglass.run_external_ids WHERE site_id > sites.site_id ORDER BY site_id LIMIT 1)
        FROM sites WHERE sites.site_id IS NOT NULL
    ), odd AS (
        SELECT site_id, external_id FROM runglass.run_external_ids
        WHERE site_id = ANY(ARRAY(
            SELECT site_id FROM sites WHERE site_id <> runglass.spelled_site(site_id, type)
        ))
        ORDER BY created_at DESC, run_id DESC LIMIT 5000
    ), gone AS (
        DELETE FROM runglass.run_external_ids AS ids USING odd
        WHERE ids.site_id = odd.site_id AND ids.external_id = odd.external_id
        RETURNING runglass.spelled_site(ids.site_id, type) AS site_id, ids.external_id, run_id, created_at
    ), added AS (
        INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)
        SELECT DISTINCT ON (site_id, external_id) * FROM gone
        ORDER BY site_id, external_id, created_at DESC, run_id DESC
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM added) INTO changed, kept;
    IF changed > kept THEN
        RAISE WARNING '% external ids are those of other runs of the same site, which reports change from now on',
            changed - kept;
    END IF;
    RETURN CASE WHEN changed > 0 THEN format(
        'spelled the sites of %s external ids as their column prints them', changed
    ) END;
END
$$;
