-- What an operator said of an alert is said of that failure. A run that leaves the alert states, and one that fails again
-- after it had recovered, is nobody's any more: it is pending, whoever wrote its status. A service that writes alert_status
-- itself in the same statement is left to it. The condition is looked at for each updated row, the function called for
-- those few alone.
DO $$
DECLARE
    said record;
    pending text := 'NULL';
BEGIN
    SELECT attnotnull, format_type(atttypid, atttypmod) AS type INTO said FROM pg_attribute
    WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'alert_status' AND NOT attisdropped;
    IF said.attnotnull THEN
        pending := format('%L::%s', 'pending', said.type);
    END IF;
    EXECUTE format(
        'CREATE FUNCTION runglass.forget_alert() RETURNS trigger'
        ' LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L',
        format(
            'BEGIN NEW.alert_status := %s; NEW.alert_changed_by := NULL; NEW.alert_changed_at := NULL; RETURN NEW; END',
            pending
        )
    );
    CREATE TRIGGER runglass_forget_alert BEFORE UPDATE OF status ON biz.ai_run_logs
        FOR EACH ROW
        WHEN (
            OLD.alert_status IS NOT NULL
            AND NEW.alert_status::text IS NOT DISTINCT FROM OLD.alert_status::text
            AND (OLD.status::text IN ('failed', 'timeout', 'circuit_open'))
                IS DISTINCT FROM (NEW.status::text IN ('failed', 'timeout', 'circuit_open'))
        )
        EXECUTE FUNCTION runglass.forget_alert();
END
$$;
