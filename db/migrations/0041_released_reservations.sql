-- online
-- When the tokens that a job had reserved were given free, because nothing had moved it for long.
ALTER TABLE biz.ai_trigger_jobs ADD COLUMN IF NOT EXISTS reservation_released_at timestamptz;
