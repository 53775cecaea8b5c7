-- So that the apps of every site are found without reading a row for each site, app and status.
CREATE INDEX run_totals_by_app ON runglass.run_totals (app_type);

-- So that the runs of a model that is used no more are found without reading what came after them.
CREATE INDEX IF NOT EXISTS run_logs_by_model ON biz.ai_run_logs (model, created_at DESC, id DESC)
    WHERE model IS NOT NULL;
