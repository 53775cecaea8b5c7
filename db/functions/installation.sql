-- Which server and database this is: both are the same for a standby and after a restart, and another one for
-- what was restored from a dump. NULL where the role may not ask, as some providers of databases have it.
CREATE OR REPLACE FUNCTION runglass.database_identity() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_catalog.pg_control_system())
        || '/' || (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database());
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END
$$;
