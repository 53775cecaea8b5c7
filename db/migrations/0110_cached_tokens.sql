-- How many tokens of a prompt the model's provider took from its cache, where a report says it.
ALTER TABLE biz.ai_run_logs ADD COLUMN IF NOT EXISTS cached_tokens bigint;
