"""What jobs reserve of the budgets, and that it is given free where nothing moves them for long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from resolvers.worker.checks import check_store
from resolvers.worker.maintenance import run_upkeep_once
from tests.api.mutations.test_budget_limits import confirm, estimate
from tests.api.mutations.test_set_budget import set_budget
from tests.support.api import Api
from tests.support.store import Store

RESERVATION = "query ($id: ID!) { triggerJob(id: $id) { reservation { tokens releasedAt } } }"
STATUS = "{ budgets { edges { node { status { reserved released state } } } } }"
LONG_AGO = datetime.now(UTC) - timedelta(days=2)
AGE_ALL = """
UPDATE biz.ai_trigger_jobs SET created_at = created_at - interval '2 days',
    started_at = started_at - interval '2 days', finished_at = finished_at - interval '2 days'"""


def run_upkeep(api: Api) -> None:
    api.runner.run(run_upkeep_once(api.app.state.database))


def status(api: Api) -> dict[str, Any]:
    return api.data(STATUS)["budgets"]["edges"][0]["node"]["status"]


def reservation(api: Api, job: int) -> dict[str, Any] | None:
    return api.data(RESERVATION, {"id": f"job_{job}"})["triggerJob"]["reservation"]


def reserving(store: Store, **values: Any) -> int:
    return store.job(
        **{"status": "running", "reserved_tokens": Jsonb({"chat": 300.4, "mail": 99.6}), **values}
    )


def test_a_job_that_nothing_moves_for_long_reserves_no_more(api: Api, store: Store) -> None:
    set_budget(api, hardLimit=500)
    dead, fresh = (reserving(store, created_at=LONG_AGO, started_at=datetime.now(UTC)) for _ in range(2))
    assert reservation(api, dead) == {"tokens": 400, "releasedAt": None}
    assert status(api) == {"reserved": 800, "released": 0, "state": "EXCEEDED"}

    store.rows("UPDATE biz.ai_trigger_jobs SET started_at = created_at WHERE id = %s", (dead,))
    run_upkeep(api)

    assert status(api) == {"reserved": 400, "released": 400, "state": "OK"}
    (released,) = store.rows(
        "SELECT reservation_released_at AS at FROM biz.ai_trigger_jobs WHERE id = %s", (dead,)
    )
    assert reservation(api, dead) == {"tokens": 400, "releasedAt": released["at"].isoformat()}
    assert reservation(api, fresh) == {"tokens": 400, "releasedAt": None}


def test_what_moves_a_job_keeps_its_reservation(api: Api, store: Store) -> None:
    called, ran, ours = (reserving(store) for _ in range(3))
    store.run(trigger_job_id=called, status="running")
    store.run(trigger_job_id=ran, created_at=LONG_AGO, finished_at=datetime.now(UTC))
    store.rows(
        "INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank, engine_id, holder, lease_until)"
        " VALUES (%s, 'berlin', '{chat}', 0, 1, gen_random_uuid(), now() + interval '1 minute')",
        (ours,),
    )
    store.rows("UPDATE biz.ai_trigger_jobs SET created_at = %s, started_at = %s", (LONG_AGO, LONG_AGO))
    run_upkeep(api)
    shown = [reservation(api, job) for job in (called, ran, ours)]
    assert shown == [{"tokens": 400, "releasedAt": None}] * 3


def test_jobs_that_wait_move_with_their_batch(api: Api, store: Store) -> None:
    set_budget(api, hardLimit=1_000_000)
    batch = estimate(api, members=3)
    confirm(api, batch)
    store.rows(AGE_ALL)
    run_upkeep(api)
    reserved = status(api)["reserved"]
    assert reserved > 0

    one = store.value("SELECT min(id) FROM biz.ai_trigger_jobs")
    store.rows("UPDATE biz.ai_trigger_jobs SET finished_at = now(), status = 'success' WHERE id = %s", (one,))
    store.rows("UPDATE runglass.batches SET confirmed_at = confirmed_at - interval '2 days'")
    run_upkeep(api)
    assert status(api)["released"] == 0

    store.rows(AGE_ALL)
    run_upkeep(api)
    left = status(api)
    assert (left["reserved"], left["released"]) == (0, reserved - reserved // 3)


def test_a_job_that_has_ended_or_reserves_nothing_has_no_reservation(api: Api, store: Store) -> None:
    assert reservation(api, reserving(store, status="success")) is None
    assert reservation(api, reserving(store, reserved_tokens=None)) is None


def checked(api: Api, seconds: float = 86_400) -> str:
    """What `runglass check` says of jobs that stand still."""
    settings = api.settings
    lines = api.runner.run(check_store(settings.dsn, settings.pool, unmoved_seconds=seconds))
    (line,) = [line for line in lines if " s; reservations of " in line or "has moved within" in line]
    return line


def test_check_counts_jobs_that_stand_still_and_what_of_them_was_released(api: Api, store: Store) -> None:
    assert checked(api) == "ok: every job that waits or runs has moved within 86,400 s"
    reserving(store, created_at=LONG_AGO, started_at=LONG_AGO)
    reserving(store)
    run_upkeep(api)
    store.job(status="pending", created_at=LONG_AGO)
    store.job(status="failed", created_at=LONG_AGO)
    told = checked(api)
    assert told.startswith(
        "wrong: 2 jobs that wait or run have not moved for 86,400 s; reservations of 1 are"
    )
    assert checked(api, seconds=3 * 86_400).startswith("ok")
