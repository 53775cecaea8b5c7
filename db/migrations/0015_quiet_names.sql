-- So that the apps of every site are found without reading a row for each site, app and status.
CREATE INDEX run_totals_by_app ON runglass.run_totals (app_type);

-- So that the runs of a model that is used no more, or of a cause that is rare, are found without reading what came after
-- them.
CREATE INDEX IF NOT EXISTS run_logs_by_model ON biz.ai_run_logs (model, created_at DESC, id DESC)
    WHERE model IS NOT NULL;
CREATE INDEX IF NOT EXISTS run_logs_by_trigger_type ON biz.ai_run_logs (trigger_type, created_at DESC, id DESC)
    WHERE trigger_type IS NOT NULL;
