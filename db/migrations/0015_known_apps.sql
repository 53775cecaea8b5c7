-- So that the apps of every site are found without reading a row for each site, app and status.
CREATE INDEX run_totals_by_app ON runglass.run_totals (app_type);
