"""Which waiting jobs come next: sites take turns, and no site and no app has more at once than it may.

A site's own jobs go by rank (what an operator asked for before batches), then by age. While an app's circuit
is open its jobs wait; when it is probed one may go, and then more with each answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from db.jobs import batches
from db.postgres.errors import StatementTimeout, Unavailable
from db.postgres.pool import Connection, Database
from db.postgres.repeats import Repeats
from db.worker import queue
from db.worker.circuits import CircuitPlacesRow, list_circuit_places
from db.worker.queue import WaitingRow
from db.worker.rescues import rescue_jobs
from db.worker.served_apps import mark_served
from resolvers.worker.apps import App

log = logging.getLogger(__name__)
_waits = Repeats()

_ADMISSION_SECONDS = 0.05
_STEP_SECONDS = 60.0


def choose_next(
    waiting: Sequence[WaitingRow],
    *,
    site_limit: int,
    app_limits: Mapping[str, int],
    app_counts: Mapping[str, int],
    circuit_places: Mapping[str, int] | None = None,
) -> list[int]:
    """The ids of the jobs to admit now, the first one first.

    Each place goes to the site with the fewest admitted jobs, and among these to the one that has waited
    longest. `app_counts` are the jobs already admitted per app; an app that `app_limits` lacks has no limit.
    `circuit_places` are limits of apps that have failed, for all but the jobs that pass circuits.
    """
    circuits = {
        app: min(places, app_limits.get(app, places)) for app, places in (circuit_places or {}).items()
    }
    limits = (app_limits, {**app_limits, **circuits})
    queues = _by_site(waiting)
    used = dict(app_counts)
    admitted = {site: rows[0].site_admitted for site, rows in queues.items()}
    turns = {site: rows[0].site_turn for site, rows in queues.items()}
    chosen: list[int] = []
    while queues:
        site = min(queues, key=lambda name: (admitted[name], turns[name], name))
        row = _take_first(queues[site], limits, used)
        if row is None or admitted[site] >= site_limit:
            del queues[site]
            continue
        chosen.append(row.job_id)
        admitted[site] += 1
        for app in set(row.app_types):
            used[app] = used.get(app, 0) + 1
        if not queues[site]:
            del queues[site]
    return chosen


def _by_site(waiting: Sequence[WaitingRow]) -> dict[str, list[WaitingRow]]:
    queues: dict[str, list[WaitingRow]] = {}
    for row in sorted(waiting, key=lambda row: (row.rank, row.job_id)):
        queues.setdefault(row.site_id, []).append(row)
    return queues


def _take_first(
    rows: list[WaitingRow], limits: tuple[Mapping[str, int], Mapping[str, int]], used: Mapping[str, int]
) -> WaitingRow | None:
    for index, row in enumerate(rows):
        plain, with_circuits = limits
        those = plain if row.passes_circuits else with_circuits
        if all(used.get(app, 0) < those[app] for app in row.app_types if app in those):
            return rows.pop(index)
    return None


@dataclass(slots=True)
class Admission:
    """Gives the engine what may run now, and takes jobs from workers that do not move them.

    `site_limit` is how many jobs of one site may run at once, on all workers; `freed` is set whenever a place
    has come free; `lease_seconds` is how long a worker may give no sign of life.
    """

    database: Database
    apps: Mapping[str, App]
    site_limit: int
    lease_seconds: float
    freed: asyncio.Event
    # In how many seconds the next app is probed.
    _probe_in: float | None = None

    async def admit(self) -> None:
        """Give the engine as many jobs as may run now, and complete the batches that have ended."""
        async with self.database.transaction() as transaction:
            if not await queue.lock_admission(transaction):
                # Whoever admits now may not have seen the place that came free.
                self.freed.set()
                return
            await queue.queue_batches(transaction)
            circuits = await list_circuit_places(transaction)
            probes = [row.probe_in for row in circuits if row.probe_in is not None and row.probe_in > 0]
            self._probe_in = min(probes, default=None)
            if chosen := await self._choose(transaction, circuits):
                await queue.admit_jobs(transaction, job_ids=chosen)
        async with self.database.connection() as connection:
            await batches.settle_batches(connection)

    async def _choose(self, transaction: Connection, circuits: Sequence[CircuitPlacesRow]) -> list[int]:
        waiting = await queue.list_waiting(transaction, app_types=list(self.apps), site_limit=self.site_limit)
        if not waiting:
            return []
        return choose_next(
            waiting,
            site_limit=self.site_limit,
            app_limits={
                name: app.concurrency for name, app in self.apps.items() if app.concurrency is not None
            },
            app_counts=await queue.count_admitted_by_app(transaction),
            circuit_places={row.app_type: row.places for row in circuits},
        )

    async def keep_admitting(self) -> None:
        """Fill places as they come free, and when an app is to be probed, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._probe_in):
                    await self.freed.wait()
            self.freed.clear()
            self._probe_in = None
            await _survive(self.admit)
            # Places that come free meanwhile are filled together.
            await asyncio.sleep(_ADMISSION_SECONDS)

    async def keep_rescuing(self) -> None:
        """Say which apps are served, and have jobs run again that nobody moves, until cancelled."""
        while True:
            await _survive(self._rescue)
            await asyncio.sleep(self.lease_seconds / 3)

    async def _rescue(self) -> None:
        async with self.database.transaction() as transaction:
            await mark_served(transaction, app_types=list(self.apps), seconds=self.lease_seconds)
            taken = await rescue_jobs(transaction, lease_seconds=self.lease_seconds)
        if taken:
            log.warning("%s jobs were taken from workers that are gone or did not move them", taken)
        await self.admit()


async def _survive(step: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(_STEP_SECONDS):
            await step()
    except (Unavailable, StatementTimeout) as error:
        _waits.tell(log, logging.WARNING, f"the worker waits: {error}")
    except TimeoutError:
        log.warning("a step of the worker took longer than %s s and will be tried again", _STEP_SECONDS)
    except Exception:
        log.exception("a step of the worker failed and will be tried again")
