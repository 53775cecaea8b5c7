-- How much of its allowance each caller has taken in the current period. Processes take it in slices and spend them
-- by themselves. Not logged: after a crash of the server a period begins anew, and nothing else is lost.

CREATE UNLOGGED TABLE runglass.rate_limits (
    caller text PRIMARY KEY,
    -- The number of the period since 1970.
    period bigint NOT NULL,
    taken bigint NOT NULL
);
