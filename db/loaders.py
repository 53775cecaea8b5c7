"""Loaders: many single loads of one operation become one statement.

A `Loaders` belongs to one operation of one caller (one event, in a subscription): it remembers what it
loaded, so it must never be shared between callers. Make it within the running loop; `cancel` it at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

from aiodataloader import DataLoader

from db.access.api_keys import ApiKeyRow, get_api_keys
from db.access.audit_log import AuditRow, get_audit_entries
from db.budgets.budget_events import BudgetEventRow, get_events
from db.budgets.budgets import BudgetRow, get_budgets
from db.budgets.reservations import ReservationRow, reservations_of_jobs
from db.jobs.batches import BatchCountsRow, BatchRow, count_batch_jobs, get_batches
from db.jobs.trigger_jobs import (
    ParentColumn,
    TriggerJobRow,
    count_jobs_of_parents,
    get_trigger_jobs,
    list_jobs_of_parents,
    list_roots,
)
from db.postgres.pool import Connection, Database
from db.runs.alerts import AlertRow, get_alerts
from db.runs.cache import CacheEntryRow, CacheResultRow, get_cache_entries, get_cache_results
from db.runs.run_logs import (
    RunLogRow,
    RunTextRow,
    count_runs_of_jobs,
    get_run_logs,
    get_run_texts,
    list_runs_of_jobs,
)
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope
from db.usage.model_prices import ModelPriceRow, get_prices
from db.worker.circuits import CircuitWaitRow, waits_of_jobs

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")
LoadMany = Callable[[Sequence[KeyT]], Awaitable[Mapping[KeyT, ValueT]]]

# Longer lists of ids make no statement faster.
_MAX_BATCH = 1000


class LoadCancelled(Exception):
    """The operation ended before the load did."""


class Loader(Generic[KeyT, ValueT]):
    """Loads values by key in batches; a key without a value gives None.

    Two guards around aiodataloader: a waiter that is cancelled does not cancel the load of the others
    (`shield`), and a cancelled batch fails its waiters instead of leaving them hanging.
    """

    def __init__(self, load_many: LoadMany[KeyT, ValueT], running: set[asyncio.Task[Any]]) -> None:
        self._load_many = load_many
        self._running = running
        self._loader: DataLoader[KeyT, ValueT | None] = DataLoader(self._batch, max_batch_size=_MAX_BATCH)

    async def load(self, key: KeyT) -> ValueT | None:
        """The value of a key. Raises `LoadCancelled` when the operation is over, and what the load raised."""
        future = self._loader.load(key)
        shielded = asyncio.shield(future)
        for each in (future, shielded):
            each.add_done_callback(_retrieve)
        return await shielded

    async def _batch(self, keys: list[KeyT]) -> list[ValueT | None]:
        task = asyncio.ensure_future(self._load_many(keys))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            found = await task
        except asyncio.CancelledError as error:
            raise LoadCancelled("the operation ended before this was read") from error
        return [found.get(key) for key in keys]


def _retrieve(future: asyncio.Future[Any]) -> None:
    # Where an operation ends early nobody asks for the rest, which asyncio would log as forgotten errors.
    if not future.cancelled():
        future.exception()


PageKey = tuple[Any, PageRequest]
# A parent, and how far its children are counted.
CountKey = tuple[Any, int]


class Loaders:
    """Every loader of one operation, each made when it is first asked for."""

    def __init__(self, database: Database, scope: Scope, *, cuts: bool = True) -> None:
        self._database = database
        self._cuts = cuts
        self._scope = scope
        self._running: set[asyncio.Task[Any]] = set()
        self._loaders: dict[str, Loader[Any, Any]] = {}
        self._whole: Loaders | None = None

    @property
    def whole(self) -> Loaders:
        """Loaders that do not cut long texts, for what is asked for by its own id."""
        if self._whole is None:
            self._whole = Loaders(self._database, self._scope, cuts=False)
            self._whole._running = self._running
        return self._whole

    def cancel(self) -> None:
        """Cancel what is still being loaded: nobody waits for it any more."""
        for task in self._running:
            task.cancel()

    @property
    def run_logs(self) -> Loader[int, RunLogRow]:
        """Runs by id."""
        return self._by_id("run_logs", partial(get_run_logs, whole=not self._cuts))

    @property
    def run_texts(self) -> Loader[int, RunTextRow]:
        """Prompts and responses by run id."""
        return self._by_id("run_texts", partial(get_run_texts, whole=not self._cuts))

    @property
    def alerts(self) -> Loader[int, AlertRow]:
        """Alerts by run id."""
        return self._by_id("alerts", partial(get_alerts, whole=not self._cuts))

    @property
    def trigger_jobs(self) -> Loader[int, TriggerJobRow]:
        """Jobs by id."""
        return self._by_id("trigger_jobs", partial(get_trigger_jobs, whole=not self._cuts))

    @property
    def reservations(self) -> Loader[int, ReservationRow]:
        """What a job that has not ended has reserved, by job id."""
        return self._by_id("reservations", reservations_of_jobs)

    @property
    def circuit_waits(self) -> Loader[int, CircuitWaitRow]:
        """What a job waits for that an open circuit keeps back, by job id."""
        return self._by_id("circuit_waits", waits_of_jobs)

    @property
    def batches(self) -> Loader[UUID, BatchRow]:
        """Batches by id."""
        return self._by_id("batches", get_batches)

    @property
    def budget_events(self) -> Loader[int, BudgetEventRow]:
        """Budget events by id."""
        return self._by_id("budget_events", get_events)

    @property
    def model_prices(self) -> Loader[int, ModelPriceRow]:
        """Prices by id."""
        return self._by_id("model_prices", get_prices)

    @property
    def budgets(self) -> Loader[int, BudgetRow]:
        """Budgets by id."""
        return self._by_id("budgets", get_budgets)

    @property
    def batch_counts(self) -> Loader[UUID, BatchCountsRow]:
        """How far the jobs of a batch have come, by batch id."""
        return self._by_id("batch_counts", count_batch_jobs)

    @property
    def cache_entries(self) -> Loader[int, CacheEntryRow]:
        """Cache entries by id."""
        return self._by_id("cache_entries", get_cache_entries)

    @property
    def cache_results(self) -> Loader[int, CacheResultRow]:
        """Cached answers by entry id."""
        return self._by_id("cache_results", partial(get_cache_results, whole=not self._cuts))

    @property
    def api_keys(self) -> Loader[int, ApiKeyRow]:
        """Keys by id."""
        return self._by_id("api_keys", get_api_keys)

    @property
    def audit_entries(self) -> Loader[int, AuditRow]:
        """Entries of the audit log by id."""
        return self._by_id("audit_entries", partial(get_audit_entries, whole=not self._cuts))

    @property
    def runs_of_jobs(self) -> Loader[PageKey, Page[RunLogRow]]:
        """One page of the runs of a job, by (job id, page)."""
        return self._get("runs_of_jobs", partial(self._load_pages, self._runs_of_jobs))

    @property
    def retries_of_jobs(self) -> Loader[PageKey, Page[TriggerJobRow]]:
        """One page of the retries of a job, by (job id, page)."""
        load = partial(self._jobs_of_parents, "retry_of_id")
        return self._get("retries_of_jobs", partial(self._load_pages, load))

    @property
    def roots_of_jobs(self) -> Loader[int, int]:
        """The id of the first job of a line of retries, by the id of any of its jobs."""
        return self._get("roots_of_jobs", self._roots_of_jobs)

    @property
    def jobs_of_batches(self) -> Loader[PageKey, Page[TriggerJobRow]]:
        """One page of the jobs of a batch, by (batch id, page)."""
        load = partial(self._jobs_of_parents, "batch_id")
        return self._get("jobs_of_batches", partial(self._load_pages, load))

    @property
    def run_counts_of_jobs(self) -> Loader[CountKey, int]:
        """How many runs a job has, by (job id, most)."""
        return self._get("run_counts_of_jobs", partial(self._load_counts, self._count_runs_of_jobs))

    @property
    def retry_counts_of_jobs(self) -> Loader[CountKey, int]:
        """How many retries a job has, by (job id, most)."""
        count = partial(self._count_jobs_of_parents, "retry_of_id")
        return self._get("retry_counts_of_jobs", partial(self._load_counts, count))

    @property
    def job_counts_of_batches(self) -> Loader[CountKey, int]:
        """How many jobs a batch has, by (batch id, most)."""
        count = partial(self._count_jobs_of_parents, "batch_id")
        return self._get("job_counts_of_batches", partial(self._load_counts, count))

    def of(self, name: str, load_many: LoadMany[Any, Any]) -> Loader[Any, Any]:
        """A loader of a use-case of its own, such as the blocks of the dashboard; one per name."""
        return self._get(name, load_many)

    def _get(self, name: str, load_many: LoadMany[Any, Any]) -> Loader[Any, Any]:
        loader = self._loaders.get(name)
        if loader is None:
            loader = self._loaders[name] = Loader(load_many, self._running)
        return loader

    def _by_id(self, name: str, get_rows: Callable[..., Awaitable[list[Any]]]) -> Loader[Any, Any]:
        return self._get(name, partial(self._load_rows, get_rows))

    async def _load_rows(
        self, get_rows: Callable[..., Awaitable[list[Any]]], ids: Sequence[Any]
    ) -> dict[Any, Any]:
        async with self._database.connection() as connection:
            rows = await get_rows(connection, scope=self._scope, ids=ids)
        return {row.id: row for row in rows}

    async def _load_pages(
        self,
        list_pages: Callable[[Connection, list[Any], PageRequest], Awaitable[dict[Any, Page[Any]]]],
        keys: Sequence[PageKey],
    ) -> dict[PageKey, Page[Any]]:
        parents_by_page: dict[PageRequest, list[Any]] = {}
        for parent, page in keys:
            parents_by_page.setdefault(page, []).append(parent)
        found: dict[PageKey, Page[Any]] = {}
        async with self._database.connection() as connection:
            for page, parents in parents_by_page.items():
                pages = await list_pages(connection, parents, page)
                found |= {(parent, page): rows for parent, rows in pages.items()}
        return found

    async def _runs_of_jobs(
        self, connection: Connection, job_ids: list[int], page: PageRequest
    ) -> dict[int, Page[RunLogRow]]:
        return await list_runs_of_jobs(connection, scope=self._scope, job_ids=job_ids, page=page)

    async def _roots_of_jobs(self, job_ids: Sequence[int]) -> dict[int, int]:
        async with self._database.connection() as connection:
            return await list_roots(connection, scope=self._scope, ids=job_ids)

    async def _jobs_of_parents(
        self, column: ParentColumn, connection: Connection, parents: list[Any], page: PageRequest
    ) -> dict[Any, Page[TriggerJobRow]]:
        return await list_jobs_of_parents(
            connection, scope=self._scope, column=column, parents=parents, page=page
        )

    async def _load_counts(
        self,
        count: Callable[[Connection, list[Any], int], Awaitable[dict[Any, int]]],
        keys: Sequence[CountKey],
    ) -> dict[CountKey, int]:
        # Every total of the API is counted equally far.
        limit = max(limit for _, limit in keys)
        async with self._database.connection() as connection:
            counts = await count(connection, [parent for parent, _ in keys], limit)
        return {(parent, limit): min(counts.get(parent, 0), limit) for parent, limit in keys}

    async def _count_runs_of_jobs(
        self, connection: Connection, job_ids: list[int], limit: int
    ) -> dict[int, int]:
        return await count_runs_of_jobs(connection, scope=self._scope, job_ids=job_ids, limit=limit)

    async def _count_jobs_of_parents(
        self, column: ParentColumn, connection: Connection, parents: list[Any], limit: int
    ) -> dict[Any, int]:
        return await count_jobs_of_parents(
            connection, scope=self._scope, column=column, parents=parents, limit=limit
        )
