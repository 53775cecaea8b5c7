"""Which job runs next: operators before batches, sites in turn, and never more at once than allowed."""

from __future__ import annotations

import pytest

from db.worker.queue import WaitingRow
from resolvers.worker.admission import choose_next
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, answer, ended, enqueue, eventually


def row(
    job: int,
    site: str = "a",
    *,
    apps: str = "chat",
    rank: int = 1,
    admitted: int = 0,
    turn: int = 0,
    passes: bool = False,
) -> WaitingRow:
    """A waiting job."""
    return WaitingRow(job, site, apps.split(), rank, admitted, turn, passes)


def chosen(
    *rows: WaitingRow,
    site: int = 2,
    limits: dict | None = None,
    used: dict | None = None,
    places: dict | None = None,
) -> list:
    """What is admitted of these."""
    return choose_next(
        rows, site_limit=site, app_limits=limits or {}, app_counts=used or {}, circuit_places=places
    )


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        ([row(3), row(1), row(2)], {}, [1, 2]),
        ([row(1), row(2), row(9, rank=0)], {}, [9, 1]),
        ([row(1), row(2), row(3, "b"), row(4, "b")], {}, [1, 3, 2, 4]),
        ([row(1, admitted=1), row(2, admitted=1), row(3, "b"), row(4, "b")], {}, [3, 1, 4]),
        ([row(1, turn=8), row(2, "b", turn=7)], {"limits": {"chat": 1}}, [2]),
        ([row(1), row(2, apps="mail")], {"limits": {"chat": 3}, "used": {"chat": 3}}, [2]),
        ([row(1, apps="chat mail"), row(2, apps="mail")], {"limits": {"mail": 1}}, [1]),
        ([row(1, admitted=2)], {}, []),
        ([row(1), row(2, apps="mail")], {"places": {"chat": 0}}, [2]),
        ([row(1), row(2), row(3, "b")], {"places": {"chat": 1}}, [1]),
        ([row(1), row(2)], {"places": {"chat": 9}, "limits": {"chat": 1}}, [1]),
        ([row(1), row(2, passes=True)], {"places": {"chat": 0}}, [2]),
        ([], {}, []),
    ],
    ids=[
        "the oldest first, within the site's limit",
        "an operator's before a batch",
        "sites in turn",
        "the site with fewer first",
        "the site that waited longer gets the last place of an app",
        "a full app holds up only its own jobs",
        "a chain needs a place at every app",
        "a full site gets none",
        "jobs of an app whose circuit is open wait",
        "one job probes an app",
        "a circuit gives an app no more places than it has",
        "what is to end passes circuits",
        "nothing",
    ],
)
def test_choice(rows: list[WaitingRow], options: dict, expected: list[int]) -> None:
    assert chosen(*rows, **options) == expected


def test_a_long_batch_of_one_site_does_not_hold_up_another_site(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    big = [enqueue(store, site_id="big", rank=1) for _ in range(300)]
    small = [enqueue(store, site_id="small", rank=1) for _ in range(3)]
    workers.start(worker_concurrency=2, site_concurrency=2)
    eventually(ended(store, *small), "the small site's jobs end")
    order = [call.body["site"] for call in apps.calls()]
    last = max(place for place, site in enumerate(order) if site == "small")
    # Each of its three waits for at most the two jobs that the big site may have before it, and two in hand.
    assert last < 3 * 4
    assert not ended(store, *big)()


def test_what_an_operator_asked_for_comes_before_batches(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    for _ in range(30):
        enqueue(store, rank=1)
    urgent = enqueue(store, rank=0)
    workers.start(worker_concurrency=1, site_concurrency=1)
    eventually(ended(store, urgent), "the operator's job ends")
    assert apps.calls()[0].body["job"] == f"job_{urgent}"


def test_a_site_never_has_more_at_once_than_it_may(store: Store, apps: AppServer, workers: Workers) -> None:
    jobs = [enqueue(store, site_id=site) for site in ("a", "b") for _ in range(12)]
    most: list[int] = []

    def behave(_: object) -> tuple:
        with_store = Store(store.connection.info.dsn)
        most.append(
            with_store.value(
                "SELECT max(jobs) FROM (SELECT count(*) AS jobs FROM biz.ai_trigger_jobs"
                " WHERE status = 'running' GROUP BY site_id) AS running"
            )
        )
        with_store.connection.close()
        return answer()

    apps.behave("chat", behave)
    workers.start(site_concurrency=3)
    workers.start(site_concurrency=3)
    eventually(ended(store, *jobs), "all jobs end")
    assert max(most) <= 3
    assert len(most) == 24


def test_an_app_never_has_more_at_once_than_it_may(store: Store, apps: AppServer, workers: Workers) -> None:
    workers.register("chat", "mail", concurrency=2)
    apps.behave("chat", apps.hang)
    jobs = [enqueue(store, site_id=f"site{n}") for n in range(6)]
    mail = enqueue(store, site_id="site0", app_chain=["mail"])
    workers.start()
    workers.start()
    eventually(ended(store, mail), "the other app's job ends")
    apps.wait_for(2, "chat")
    assert len(apps.calls("chat")) == 2
    assert store.value("SELECT count(*) FROM runglass.job_queue WHERE engine_id IS NOT NULL") == 2
    apps.release()
    eventually(ended(store, *jobs), "all jobs end")


@pytest.mark.parametrize("chain", [["other"], ["chat", "other"], []])
def test_jobs_whose_apps_are_not_all_registered_wait_for_another_dispatcher(
    store: Store, apps: AppServer, workers: Workers, chain: list[str]
) -> None:
    waiting = enqueue(store, app_chain=chain)
    after = enqueue(store)
    workers.start(worker_lease=1)
    eventually(ended(store, after), "the job after it ends")
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", (waiting,)) == "pending"
    assert [call.body["job"] for call in apps.calls()] == [f"job_{after}"]


def test_jobs_that_others_wrote_into_the_table_are_not_touched(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    theirs = store.job(status="pending")
    ours = enqueue(store)
    workers.start(worker_lease=1)
    eventually(ended(store, ours), "our job ends")
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", (theirs,)) == "pending"
    assert len(apps.calls()) == 1


def test_a_queued_job_that_a_dispatcher_took_is_left_to_it(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    taken = enqueue(store)
    store.rows("UPDATE biz.ai_trigger_jobs SET status = 'running' WHERE id = %s", (taken,))
    workers.start()
    eventually(lambda: store.value("SELECT count(*) FROM runglass.job_queue") == 0, "the queue is empty")
    assert apps.calls() == []
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", (taken,)) == "running"
