-- A retry may begin in the middle of its chain of apps, with the answer that a former run got.

-- How many apps of the chain are left out at its beginning; NULL is none.
ALTER TABLE biz.ai_trigger_jobs ADD COLUMN IF NOT EXISTS chain_start integer;
-- The run whose answer is the input of the first app that is called; NULL where that app gets none.
ALTER TABLE biz.ai_trigger_jobs ADD COLUMN IF NOT EXISTS input_run_id bigint;
