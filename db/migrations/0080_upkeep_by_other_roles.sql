-- What a server's upkeep does to tables it does with the rights of the role that migrates, so that the server's own role
-- needs none to create (docs/roles.md).
-- include run_log_partitions.sql 0402d0616758
-- include run_log_checks.sql 7184003c8868

REVOKE EXECUTE ON FUNCTION runglass.ensure_run_log_partitions(date, date), runglass.notice_run_log_tables(),
    runglass.count_run_logs_from_now_on() FROM PUBLIC;
