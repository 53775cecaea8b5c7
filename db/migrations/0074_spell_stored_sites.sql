-- online
-- Spells the sites of our own tables as the columns of an adopted database print them, and says what it did. What its type
-- cannot hold stays as it is; `runglass check` tells of it.

-- repeat
SELECT runglass.spell_stored_sites();
