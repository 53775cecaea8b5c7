-- online
-- Gives the entries of an adopted cache that had no ids one each, some at a time.

-- repeat
SELECT runglass.number_cache_entries();
