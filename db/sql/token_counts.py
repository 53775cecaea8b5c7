"""What the run log holds of a run whose tokens nobody knows."""

from __future__ import annotations

from typing import LiteralString

UNKNOWN_TOKENS: LiteralString = """(
    SELECT 0::bigint FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_type AS t ON t.oid = atttypid
    WHERE attrelid = 'biz.ai_run_logs'::regclass AND attname = 'tokens_used' AND (attnotnull OR typnotnull)
)"""
"""NULL, or 0 where an adopted table takes no NULL."""

TOKENS_OF_RUN: LiteralString = f"""coalesce(
    {{tokens_used}}, {{prompt_tokens}} + {{completion_tokens}}, {{prompt_tokens}}, {{completion_tokens}},
    {UNKNOWN_TOKENS}
)"""
"""The tokens of a new run: what is told, or what is known of their parts."""
