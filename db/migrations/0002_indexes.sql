-- online
-- Keyset pages run along (created_at, id); each index serves one filter of the API.
CREATE INDEX IF NOT EXISTS run_logs_newest ON biz.ai_run_logs (created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS run_logs_by_site ON biz.ai_run_logs (site_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS run_logs_by_app ON biz.ai_run_logs (app_type, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS run_logs_by_site_app ON biz.ai_run_logs (site_id, app_type, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS run_logs_by_member ON biz.ai_run_logs (member_id, created_at DESC, id DESC)
    WHERE member_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS run_logs_by_session ON biz.ai_run_logs (session_id, created_at DESC, id DESC)
    WHERE session_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS run_logs_by_job ON biz.ai_run_logs (trigger_job_id, created_at DESC, id DESC)
    WHERE trigger_job_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS run_logs_by_other_status ON biz.ai_run_logs (status, created_at DESC, id DESC)
    WHERE status <> 'success';
CREATE INDEX IF NOT EXISTS run_logs_with_error ON biz.ai_run_logs (created_at DESC, id DESC)
    WHERE error_message IS NOT NULL;
CREATE INDEX IF NOT EXISTS alerts_newest ON biz.ai_run_logs (created_at DESC, id DESC)
    WHERE status IN ('failed', 'timeout', 'circuit_open');
CREATE INDEX IF NOT EXISTS alerts_by_site ON biz.ai_run_logs (site_id, created_at DESC, id DESC)
    WHERE status IN ('failed', 'timeout', 'circuit_open');
CREATE INDEX IF NOT EXISTS pending_alerts_newest ON biz.ai_run_logs (created_at DESC, id DESC)
    WHERE status IN ('failed', 'timeout', 'circuit_open') AND (alert_status IS NULL OR alert_status = 'pending');
CREATE INDEX IF NOT EXISTS pending_alerts_by_site ON biz.ai_run_logs (site_id, created_at DESC, id DESC)
    WHERE status IN ('failed', 'timeout', 'circuit_open') AND (alert_status IS NULL OR alert_status = 'pending');
-- Without it a member's failures were sought among all runs of the member, or all alerts of the site.
CREATE INDEX IF NOT EXISTS alerts_by_member ON biz.ai_run_logs (member_id, created_at DESC, id DESC)
    WHERE status IN ('failed', 'timeout', 'circuit_open') AND member_id IS NOT NULL;

-- So that the runs of a model that is used no more, or of a cause that is rare, are found without reading what came after
-- them.
CREATE INDEX IF NOT EXISTS run_logs_by_model ON biz.ai_run_logs (model, created_at DESC, id DESC)
    WHERE model IS NOT NULL;
CREATE INDEX IF NOT EXISTS run_logs_by_trigger_type ON biz.ai_run_logs (trigger_type, created_at DESC, id DESC)
    WHERE trigger_type IS NOT NULL;
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

CREATE INDEX IF NOT EXISTS trigger_jobs_newest ON biz.ai_trigger_jobs (created_at, id);
CREATE INDEX IF NOT EXISTS trigger_jobs_by_site ON biz.ai_trigger_jobs (site_id, created_at, id);
CREATE INDEX IF NOT EXISTS trigger_jobs_by_status ON biz.ai_trigger_jobs (status, created_at, id);
CREATE INDEX IF NOT EXISTS trigger_jobs_by_member ON biz.ai_trigger_jobs (member_id, created_at, id) WHERE member_id IS NOT NULL;
-- Gives a page of a batch's jobs, and counts them without reading them.
CREATE INDEX IF NOT EXISTS trigger_jobs_by_batch ON biz.ai_trigger_jobs (batch_id, created_at, id) INCLUDE (status, tokens_used)
    WHERE batch_id IS NOT NULL;
-- Equal keys, which are stored once: a seventh of the size it had when it held the reservations themselves.
CREATE INDEX IF NOT EXISTS trigger_jobs_reserving ON biz.ai_trigger_jobs (site_id)
    WHERE reserved_tokens IS NOT NULL AND status IN ('pending', 'running');
CREATE INDEX IF NOT EXISTS trigger_jobs_by_retry_of ON biz.ai_trigger_jobs (retry_of_id, created_at DESC, id DESC)
    WHERE retry_of_id IS NOT NULL;

CREATE INDEX IF NOT EXISTS cache_newest ON biz.ai_cache (created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS cache_by_site ON biz.ai_cache (site_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS cache_by_target ON biz.ai_cache (site_id, cache_type, target_id);
