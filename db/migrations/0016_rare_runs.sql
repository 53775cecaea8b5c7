-- So that the few runs of a site with a number in a range are found by that number.
CREATE INDEX IF NOT EXISTS run_logs_by_site_latency ON biz.ai_run_logs (site_id, latency_ms)
    WHERE latency_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS run_logs_by_site_tokens ON biz.ai_run_logs (site_id, tokens_used)
    WHERE tokens_used IS NOT NULL;

-- The alerts of an app that hardly fails, and those that somebody has dealt with. Alerts are few, so this costs little.
CREATE INDEX IF NOT EXISTS alerts_by_app ON biz.ai_run_logs (app_type, created_at DESC, id DESC)
    WHERE status IN ('failed', 'timeout', 'circuit_open');
CREATE INDEX IF NOT EXISTS alerts_by_site_app ON biz.ai_run_logs (site_id, app_type, created_at DESC, id DESC)
    WHERE status IN ('failed', 'timeout', 'circuit_open');
CREATE INDEX IF NOT EXISTS alerts_by_alert_status ON biz.ai_run_logs (alert_status, created_at DESC, id DESC)
    WHERE status IN ('failed', 'timeout', 'circuit_open') AND alert_status IS NOT NULL;
CREATE INDEX IF NOT EXISTS alerts_by_site_alert_status
    ON biz.ai_run_logs (site_id, alert_status, created_at DESC, id DESC)
    WHERE status IN ('failed', 'timeout', 'circuit_open') AND alert_status IS NOT NULL;
