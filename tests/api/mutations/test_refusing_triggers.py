"""A trigger of an adopted table that does not take what we write: a refusal that changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.mutations.test_ack_alert import ACK_ALERT
from tests.api.mutations.test_invalidate_cache import INVALIDATE_CACHE
from tests.api.mutations.test_record_runs import record, report
from tests.api.mutations.test_retry_job import RETRY_JOB
from tests.support.api import Api
from tests.support.store import Store

RAISED = {
    "an exception": "RAISE EXCEPTION 'hunter2'",
    "with a code of its own": "RAISE EXCEPTION 'hunter2' USING ERRCODE = 'U0001'",
    "as a constraint": "RAISE EXCEPTION 'hunter2' USING ERRCODE = 'check_violation'",
}


def refuse(store: Store, table: str, statement: str, condition: str = "true") -> None:
    store.rows(
        "CREATE FUNCTION biz.refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
        f" BEGIN IF {condition} THEN {statement}; END IF; RETURN NEW; END $$"
    )
    store.rows(
        f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION biz.refuse()"
    )


@pytest.mark.parametrize("raised", RAISED)
def test_a_change_is_refused_without_the_words_of_the_trigger(
    api: Api, store: Store, raised: str, caplog: pytest.LogCaptureFixture
) -> None:
    job, alert = store.job(), store.run(status="failed")
    store.cache()
    changes: dict[str, tuple[str, str, dict[str, Any]]] = {
        "biz.ai_trigger_jobs": ("retryJob", RETRY_JOB, {"id": f"job_{job}"}),
        "biz.ai_run_logs": ("ackAlert", ACK_ALERT, {"id": f"alert_{alert}"}),
        "biz.ai_cache": ("invalidateCache", INVALIDATE_CACHE, {"input": {"siteId": "berlin"}}),
    }
    for table, (field, mutation, variables) in changes.items():
        refuse(store, table, RAISED[raised].replace("hunter2", f"hunter2: {raised}"))
        before = store.snapshot()
        answer = api.execute(mutation, variables)
        # Where the mutation's union has no InvalidInput, an error.
        refusal = answer["data"][field] if "errors" not in answer else answer["errors"][0]
        code = refusal.get("code") or refusal["extensions"]["code"]
        assert code in ("INVALID_INPUT", "BAD_USER_INPUT")
        assert refusal["message"] == (
            "A trigger of its table does not take this change; the server's log says why."
        )
        assert "hunter2" not in str(answer)
        assert store.snapshot() == before
        store.rows("DROP FUNCTION biz.refuse CASCADE")
    lines = [line for line in caplog.messages if "trigger" in line]
    assert lines[0] == f"a trigger refused a change: hunter2: {raised}"
    assert not [line for line in caplog.records if line.exc_info]


def test_of_many_reports_the_one_is_named(api: Api, store: Store) -> None:
    refuse(store, "biz.ai_run_logs", RAISED["an exception"], "NEW.tokens_used = 13")
    good = [report(externalId=f"x{number}", tokensUsed=1) for number in range(9)]
    before = store.snapshot()

    refusal = record(api, *good[:5], report(externalId="y", tokensUsed=13), *good[5:])

    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", None)
    assert refusal["message"].startswith("runs[5] cannot be stored here: a trigger of its table")
    assert "hunter2" not in refusal["message"]
    assert store.snapshot() == before
