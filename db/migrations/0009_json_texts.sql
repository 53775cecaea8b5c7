-- How the API writes a value as JSON, where the database writes rows for it (db/json_text.py). Each function is one
-- expression, so that PostgreSQL puts it in the place of the call when it plans a statement.
DO $$
DECLARE
    -- JSON_SCALAR, of PostgreSQL 17 and later, knows from the plan how its type is written, which to_json looks up at
    -- every call.
    of_json text := CASE
        WHEN current_setting('server_version_num')::int >= 170000 THEN 'json_scalar' ELSE 'to_json'
    END;
BEGIN
    EXECUTE format(
        'CREATE FUNCTION runglass.json_string(value text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS %L',
        format('SELECT %s(value)::text', of_json)
    );

    -- A time as Python's isoformat writes it, in a session that speaks UTC; NULL for one that Python cannot hold. What
    -- PostgreSQL writes by itself leaves out the last digits that are 0, so it is taken where the very last is not.
    EXECUTE format(
        'CREATE FUNCTION runglass.json_instant(value timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS %L',
        format(
            $sql$
            SELECT CASE
                WHEN value >= '0001-01-01' AND value < '10000-01-01' THEN CASE
                    WHEN value::timestamptz(5) <> value THEN %s(value)::text
                    ELSE '"' || replace(to_char(value, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '.000000', '') || '+00:00"'
                END
            END
            $sql$,
            of_json
        )
    );
END
$$;
