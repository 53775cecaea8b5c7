"""The job engine: procrastinate, on connections of its own, kept going through a database that goes away.

Its tables lie in the schema procrastinate. The engine fetches jobs, keeps a sign of life for the worker, and
hands a job back where the worker stops; what a job does is the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import Any, LiteralString

import procrastinate
import psycopg
from procrastinate import exceptions, jobs
from procrastinate.connector import BaseAsyncConnector
from procrastinate.manager import JobManager
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from db.postgres.connection import Connection, options_of
from db.postgres.pool import PoolSettings, make_pool
from db.postgres.repeats import Repeats

log = logging.getLogger(__name__)

QUEUE = "work"
_SIGNS_OF_LIFE_PER_LEASE = 3
# How soon a job is tried again after a fault that is not its own, such as a database that was gone.
_RETRY_SECONDS = 1
_LONGEST_WAIT = 2.0
# How long the end of a job is said again while the database is away, in steps; then the lease brings it back.
_PATIENCE = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
_FAULTS = (psycopg.Error, PoolTimeout, exceptions.ConnectorException, OSError)

# Tells whether nothing is left to be said of the engine's job: it was ended with what the job has written, or
# it is somebody else's by now.
RunJob = Callable[[int, str, int], Awaitable[bool]]
Admit = Callable[[], Awaitable[None]]


class _AlwaysAgain(procrastinate.BaseRetryStrategy):
    """A job that raised was interrupted, not answered: it is not lost but tried again."""

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> procrastinate.RetryDecision:
        interrupted = isinstance(exception, asyncio.CancelledError)
        return procrastinate.RetryDecision(retry_in={"seconds": 0 if interrupted else _RETRY_SECONDS})


_FINISH: LiteralString = """
DELETE FROM procrastinate.procrastinate_jobs WHERE id = %(job_id)s AND worker_id = %(worker_id)s"""

_GIVE_BACK: LiteralString = """
SELECT procrastinate.procrastinate_retry_job_v2(id, coalesce(%(retry_at)s, now()), NULL, NULL, NULL)
FROM procrastinate.procrastinate_jobs
WHERE id = %(job_id)s AND worker_id = %(worker_id)s AND status = 'doing'"""


class _EngineJobs(JobManager):
    """Ends only what is still this worker's: what was taken from it is another one's to end.

    The engine itself ends a job by its number alone, whoever runs it, and once.
    """

    def __init__(self, connector: BaseAsyncConnector) -> None:
        super().__init__(connector)
        self.ended: set[int] = set()

    async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:
        if job.id in self.ended:
            self.ended.discard(job.id)
            return
        await self._say(_FINISH, job_id=job.id, worker_id=job.worker_id)

    async def retry_job(
        self, job: jobs.Job, retry_at: datetime | None = None, *args: Any, **options: Any
    ) -> None:
        await self._say(_GIVE_BACK, job_id=job.id, worker_id=job.worker_id, retry_at=retry_at)

    async def _say(self, statement: LiteralString, **values: Any) -> None:
        for pause in (*_PATIENCE, None):
            try:
                return await self.connector.execute_query_async(statement, **values)
            except exceptions.ConnectorException as error:
                if isinstance(error.__cause__, psycopg.errors.RaiseException):
                    # The functions of the engine raise so where a job is no longer there.
                    return None
                if pause is None:
                    raise
                await asyncio.sleep(pause)


class JobEngine:
    """Runs `run_job(job id, site, engine's id)` for admitted jobs; `admit()` on demand."""

    def __init__(
        self,
        dsn: str,
        settings: PoolSettings,
        *,
        concurrency: int,
        lease_seconds: float,
        grace_seconds: float,
        run_job: RunJob,
        admit: Admit,
    ) -> None:
        self._concurrency = concurrency
        self._lease = lease_seconds
        self._grace = grace_seconds
        # A pooler in transaction mode does not carry LISTEN; the worker then asks twice a second.
        self._listens = not settings.pooled
        connector = _connector(dsn, settings, concurrency)
        self._app = procrastinate.App(connector=connector)
        self._app.job_manager = ending = _EngineJobs(connector)
        again = _AlwaysAgain()

        @self._app.task(name="run_job", queue=QUEUE, pass_context=True, retry=again)
        async def _run_job(context: procrastinate.JobContext, job_id: int, site_id: str) -> None:
            # A job that was fetched has an id.
            engine_id = context.job.id or 0
            if await run_job(job_id, site_id, engine_id):
                ending.ended.add(engine_id)

        @self._app.task(name="admit", queue=QUEUE, retry=again)
        async def _admit() -> None:
            await admit()

        self._tasks = (_run_job, _admit)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then wait for running jobs within the grace, and hand back the rest."""
        wait = 0.1
        waits = Repeats()
        while not stop.is_set():
            started = asyncio.get_running_loop().time()
            try:
                async with self._app.open_async():
                    await self._work(stop)
            except _FAULTS as error:
                reason = str(error.__cause__ or error).split("\n", 1)[0]
                waits.tell(log, logging.WARNING, f"the worker waits for the database: {reason}")
            if asyncio.get_running_loop().time() - started > self._lease:
                wait = 0.1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await stop.wait()
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _work(self, stop: asyncio.Event) -> None:
        beat = self._lease / _SIGNS_OF_LIFE_PER_LEASE
        work = asyncio.create_task(
            self._app.run_worker_async(
                queues=[QUEUE],
                concurrency=self._concurrency,
                install_signal_handlers=False,
                fetch_job_polling_interval=0.5,
                listen_notify=self._listens,
                shutdown_graceful_timeout=self._grace,
                update_heartbeat_interval=beat,
                stalled_worker_timeout=self._lease,
                delete_jobs=jobs.DeleteJobCondition.ALWAYS,
            )
        )
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            # Cancelling is how the engine is told to stop; it still ends in good order.
            work.cancel()
            await asyncio.wait({work})
        if not work.cancelled() and (error := work.exception()):
            raise error


def _connector(dsn: str, settings: PoolSettings, concurrency: int) -> procrastinate.PsycopgConnector:
    def pool(**options: Any) -> AsyncConnectionPool[Any]:
        # procrastinate's own pool asks with each use whether a connection lives, one round trip more a job.
        for ours in ("conninfo", "open", "check"):
            del options[ours]
        made = make_pool(dsn, settings, pool_class=_EnginePool, connection_class=Connection, **options)
        # Below the deadline on our side, so that nothing runs on in the server when we have given it up.
        made.statement_milliseconds = round(settings.statement_seconds * 1000)
        return made

    return procrastinate.PsycopgConnector(
        conninfo=dsn,
        pool_factory=pool,
        kwargs={
            **options_of(dsn, connect_seconds=settings.connect_seconds, application_name="runglass worker"),
            "prepare_threshold": settings.prepare_threshold,
        },
        configure=_configure,
        min_size=1,
        max_size=max(2, min(concurrency, 4)),
    )


async def _configure(connection: Connection) -> None:
    await connection.set_autocommit(True)


# The engine names its tables without a schema. What a crash of the server undoes here (who has fetched what)
# the lease brings back; and a job's own writes, which do wait for the disk, take all before them along.
_BEGIN = sql.SQL(
    "BEGIN; SET LOCAL search_path = procrastinate, pg_catalog; SET LOCAL synchronous_commit = off;"
    " SET LOCAL statement_timeout = {}"
)


class _EnginePool(AsyncConnectionPool[Connection]):
    """Gives out each connection within a transaction that has the settings which the engine needs.

    Of a session they would be, behind a pooler, the settings of whoever gets its connection next.
    """

    statement_milliseconds = 0

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncGenerator[Connection, None]:  # noqa: ASYNC109 - the pool's own
        """A connection within a transaction: committed at the end, rolled back on any exception."""
        async with super().connection(timeout) as connection:
            await connection.execute(_BEGIN.format(self.statement_milliseconds), prepare=False)
            try:
                yield connection
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    await connection.rollback()
                raise
            await connection.commit()
