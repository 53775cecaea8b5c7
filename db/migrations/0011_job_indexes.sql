-- Leaner indexes of jobs, so that starting and stopping 100,000 of them at once writes less: five instead of seven
-- entries per job, in the order in which jobs are made. Pages of newest first read them backward, just as fast.

DROP INDEX IF EXISTS biz.trigger_jobs_newest, biz.trigger_jobs_by_site, biz.trigger_jobs_by_status,
    biz.trigger_jobs_by_member, biz.trigger_jobs_by_batch, biz.trigger_jobs_batch_progress, biz.trigger_jobs_reserving;

CREATE INDEX trigger_jobs_newest ON biz.ai_trigger_jobs (created_at, id);
CREATE INDEX trigger_jobs_by_site ON biz.ai_trigger_jobs (site_id, created_at, id);
CREATE INDEX trigger_jobs_by_status ON biz.ai_trigger_jobs (status, created_at, id);
CREATE INDEX trigger_jobs_by_member ON biz.ai_trigger_jobs (member_id, created_at, id) WHERE member_id IS NOT NULL;
-- Gives a page of a batch's jobs, and counts them without reading them.
CREATE INDEX trigger_jobs_by_batch ON biz.ai_trigger_jobs (batch_id, created_at, id) INCLUDE (status, tokens_used)
    WHERE batch_id IS NOT NULL;
-- Equal keys, which are stored once: a seventh of the size it had when it held the reservations themselves.
CREATE INDEX trigger_jobs_reserving ON biz.ai_trigger_jobs (site_id)
    WHERE reserved_tokens IS NOT NULL AND status IN ('pending', 'running');
