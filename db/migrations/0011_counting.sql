-- online
-- From here on every write is counted; then the rows that are there already, the newest day first.

-- repeat
SELECT runglass.count_next_run_logs();

-- repeat
SELECT runglass.count_day_of_old_runs();
