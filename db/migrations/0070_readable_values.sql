-- Values of adopted tables as the API can show them, whatever type their column has. What cannot be shown is NULL, so that
-- one row does not make a page unreadable. PostgreSQL chooses by the column's type, and puts the body into the statement:
-- for the types that we would have chosen nothing is left to be done.

CREATE OR REPLACE FUNCTION runglass.whole_number(value smallint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
'SELECT value::bigint';
CREATE OR REPLACE FUNCTION runglass.whole_number(value integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS
'SELECT value::bigint';
CREATE OR REPLACE FUNCTION runglass.whole_number(value bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
'SELECT value';
CREATE OR REPLACE FUNCTION runglass.whole_number(value numeric) RETURNS bigint LANGUAGE sql IMMUTABLE AS
'SELECT CASE WHEN value BETWEEN -9223372036854775807 AND 9223372036854775807 THEN value::bigint END';
-- The largest of double precision below the end of bigint.
CREATE OR REPLACE FUNCTION runglass.whole_number(value real) RETURNS bigint LANGUAGE sql IMMUTABLE AS
'SELECT CASE WHEN value BETWEEN -9223371487098961920::float4 AND 9223371487098961920::float4 THEN value::bigint END';
CREATE OR REPLACE FUNCTION runglass.whole_number(value double precision) RETURNS bigint LANGUAGE sql IMMUTABLE AS
'SELECT CASE WHEN value BETWEEN -9223372036854774784::float8 AND 9223372036854774784::float8 THEN value::bigint END';
CREATE OR REPLACE FUNCTION runglass.whole_number(value text) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$SELECT CASE WHEN value ~ '^\s*[-+]?[0-9]{1,18}(\.[0-9]*)?\s*$' THEN round(value::numeric)::bigint END$$;

-- A whole number of 32 bits, as GraphQL's Int holds.
CREATE OR REPLACE FUNCTION runglass.small_number(value bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
'SELECT CASE WHEN value BETWEEN -2147483648 AND 2147483647 THEN value END';

-- A time between the years 2 and 9998, which every language and zone can tell.
CREATE OR REPLACE FUNCTION runglass.readable_time(value timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
$$SELECT CASE WHEN value >= '0002-01-01 00:00:00+00'::timestamptz AND value < '9999-01-01 00:00:00+00'::timestamptz
    THEN value END$$;
CREATE OR REPLACE FUNCTION runglass.readable_time(value timestamp) RETURNS timestamp LANGUAGE sql IMMUTABLE AS
$$SELECT CASE WHEN value >= '0002-01-01'::timestamp AND value < '9999-01-01'::timestamp THEN value END$$;

-- Numbers entries of an adopted cache that had no ids, some at a time; NULL where all have one.
CREATE OR REPLACE FUNCTION runglass.number_cache_entries() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    numbered bigint;
BEGIN
    IF to_regclass('runglass.cache_id') IS NULL THEN
        RETURN NULL;
    END IF;
    UPDATE biz.ai_cache SET id = nextval('runglass.cache_id')
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM biz.ai_cache WHERE id IS NULL LIMIT 5000));
    GET DIAGNOSTICS numbered = ROW_COUNT;
    RETURN CASE WHEN numbered > 0 THEN 'numbered ' || numbered || ' cached answers' END;
END
$$;
