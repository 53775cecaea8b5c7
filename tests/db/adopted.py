"""Databases as others have made them: the three tables of schema biz with other types, and rows in them."""

from __future__ import annotations

from typing import NamedTuple

ROWS = """
INSERT INTO biz.ai_run_logs (site_id, app_type, trigger_type, member_id, session_id, request_prompt,
    response_text, tokens_used, latency_ms, status, error_message, alert_status, created_at, finished_at)
SELECT 1 + n % 3, (ARRAY['chat', 'mail'])[1 + n % 2], 'event', 10 + n % 4, '5', 'ask ' || n, 'tell',
    n, n * 10, (ARRAY['success', 'failed', 'timeout', 'running', 'paused'])[1 + n % 5], NULL, NULL,
    now() AT TIME ZONE 'UTC' - n * interval '1 minute', NULL
FROM generate_series(0, 59) AS n;
INSERT INTO biz.ai_run_logs (site_id, app_type, status, created_at)
VALUES (1, 'chat', NULL, '2020-02-29 12:00');
INSERT INTO biz.ai_trigger_jobs (site_id, event_type, connector_type, member_id, payload, app_chain,
    is_forced, status, created_at)
SELECT 1 + n % 3, 'order', 'shop', 10 + n, '{"n": 1}', {chain}, NULL,
    (ARRAY['failed', 'success', 'pending', 'skipped_duplicate'])[1 + n % 4],
    now() AT TIME ZONE 'UTC' - n * interval '1 minute'
FROM generate_series(0, 11) AS n;
INSERT INTO biz.ai_cache (site_id, cache_type, target_id, status, result, created_at)
SELECT 1 + n % 3, 'chat', n::text, 'valid', {result}, now() AT TIME ZONE 'UTC'
FROM generate_series(0, 8) AS n;
"""


class Variant(NamedTuple):
    """One way in which the tables may have been made; each text names types."""

    id: str
    site: str
    member: str
    word: str
    time: str
    tokens: str
    chain: str
    chain_value: str
    result: str
    result_value: str

    def sql(self) -> str:
        """The tables with sixty-one runs, twelve jobs and nine cache entries of the sites 1, 2 and 3."""
        rows = ROWS.replace("{chain}", self.chain_value).replace("{result}", self.result_value)
        if self.site.startswith(("text", "varchar")):
            rows = rows.replace("SELECT 1 + n % 3", "SELECT (1 + n % 3)::text")
        if self.member.startswith(("text", "varchar")):
            rows = rows.replace("10 + n % 4", "(10 + n % 4)::text").replace("10 + n,", "(10 + n)::text,")
        return (
            f"""
            CREATE SCHEMA biz;
            CREATE TABLE biz.ai_run_logs (
                id {self.id} PRIMARY KEY, site_id {self.site}, app_type {self.word}, trigger_type {self.word},
                member_id {self.member}, session_id {self.word}, request_prompt text, response_text text,
                tokens_used {self.tokens}, latency_ms {self.tokens}, status {self.word}, error_message text,
                alert_status {self.word}, created_at {self.time} DEFAULT now(), finished_at {self.time});
            CREATE TABLE biz.ai_trigger_jobs (
                id {self.id} PRIMARY KEY, site_id {self.site}, event_type {self.word},
                connector_type {self.word}, member_id {self.member}, payload jsonb, app_chain {self.chain},
                is_forced boolean,
                status {self.word}, error_message text, started_at {self.time}, finished_at {self.time},
                created_at {self.time} DEFAULT now());
            CREATE TABLE biz.ai_cache (
                id {self.id} PRIMARY KEY, site_id {self.site}, cache_type {self.word}, target_id {self.word},
                status {self.word}, result {self.result}, created_at {self.time}, expires_at {self.time});
            SET TimeZone = 'UTC';
            """
            + rows
        )


VARIANTS = {
    "integers": Variant(
        id="serial",
        site="integer",
        member="bigint",
        word="varchar(40)",
        time="timestamp without time zone",
        tokens="integer",
        chain="jsonb",
        chain_value="""'["chat", "mail"]'""",
        result="text",
        result_value="'plain'",
    ),
    "texts": Variant(
        id="bigserial",
        site="varchar(64)",
        member="varchar(64)",
        word="text",
        time="timestamptz",
        tokens="bigint",
        chain="text",
        chain_value="'chat -> mail'",
        result="jsonb",
        result_value="""'{"a": 1}'""",
    ),
    "mixed": Variant(
        id="integer GENERATED ALWAYS AS IDENTITY",
        site="bigint NOT NULL",
        member="text",
        word="varchar",
        time="timestamp(3) without time zone",
        tokens="numeric",
        chain="varchar[]",
        chain_value="'{chat,mail}'",
        result="json",
        result_value="'[1]'",
    ),
}

PARTITIONED = """
CREATE SCHEMA biz;
CREATE TABLE biz.ai_run_logs (id bigserial, site_id text, app_type text, trigger_type text, member_id text,
    session_id text, request_prompt text, response_text text, tokens_used bigint, latency_ms integer,
    status text, error_message text, alert_status text, {created_at}, finished_at timestamptz{more})
    PARTITION BY RANGE (created_at);
CREATE TABLE biz.of_old PARTITION OF biz.ai_run_logs FOR VALUES FROM (MINVALUE) TO ('2023-01-01');
"""
"""A log that others have partitioned, for `format`."""

# Every kind of database that we start from; the new one is empty.
KINDS = {
    "new": "",
    **{name: variant.sql() for name, variant in VARIANTS.items()},
    "partitioned": PARTITIONED.format(created_at="created_at timestamptz NOT NULL", more=""),
    "partitioned, nullable": PARTITIONED.format(created_at="created_at timestamptz", more=""),
    "partitioned, no zone": PARTITIONED.format(created_at="created_at timestamp", more=""),
    "partitioned, no zone, not null": PARTITIONED.format(created_at="created_at timestamp NOT NULL", more=""),
    "partitioned, foreign key": PARTITIONED.format(
        created_at="created_at timestamptz NOT NULL", more=", PRIMARY KEY (id, created_at)"
    )
    + "CREATE TABLE biz.note (run bigint, at timestamptz, FOREIGN KEY (run, at) REFERENCES biz.ai_run_logs)",
}
