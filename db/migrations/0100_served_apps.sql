-- Which apps workers serve: each says so now and then, and until when that holds if it is not heard of again.
CREATE TABLE runglass.served_apps (
    app_type text PRIMARY KEY,
    served_until timestamptz NOT NULL
);
