"""Running jobs: walk a job's chain of apps, and write down every call.

No database connection is held while an app works. A job whose execution broke off is run again from the call
that had no answer, with the same idempotency key; calls that were answered are not made again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar
from uuid import UUID, uuid4

from db.postgres.errors import RefusedByTable, StatementTimeout, Unavailable
from db.postgres.pool import Connection, Database
from db.postgres.repeats import Repeats
from db.sql.scope import Scope
from db.worker import circuits, fast_path, queue
from db.worker import work as store
from db.worker.work import EarlierRunRow, LeaseRow
from resolvers.jobs.chains import call_key
from resolvers.worker.apps import Answer, App, AppClient
from resolvers.worker.executions import (
    Call,
    Execution,
    after,
    answer_of,
    end_of,
    request_of,
    run_row,
    values_of,
    values_of_end,
)

log = logging.getLogger(__name__)
_repeats = Repeats()

ResultT = TypeVar("ResultT")

# How long an answer is kept in hand while the database is away, in steps; after that the call is repeated.
_PATIENCE = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, *[8.0] * 6)


class AppsMissing(Exception):
    """A job was admitted by a worker with a registry that names more apps than this one's."""


class LeaseLost(Exception):
    """The job was taken from this worker, which gave no sign of life or did not move it."""


# A job: its id, its site, the engine's id of it, and who runs it.
Target = tuple[int, str, int, UUID]


class Limits(NamedTuple):
    """How long what may take, in seconds, and how often a job is taken from workers before it is given up."""

    # Of a job from its first call to its end, whatever its apps may take.
    job_seconds: float = 3600.0
    # For all that is not a call: the statements of a step, and to try them again while the database is away.
    margin_seconds: float = 30.0
    # Of waiting for an app whose circuit is open.
    wait_seconds: float = 900.0
    rescues: int = 5


@dataclass(slots=True)
class Runner:
    """Runs jobs of one process."""

    database: Database
    client: AppClient
    apps: Mapping[str, App]
    installation: UUID
    limits: Limits = Limits()  # noqa: RUF009 - immutable
    # Set whenever a place has come free, so that it is filled.
    freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run_job(self, job_id: int, site_id: str, engine_id: int) -> bool:
        """Run an admitted job to its end, unless it has ended already or another worker holds it by now.

        Gives whether nothing is left to be said of the engine's job: it was ended with the job, or is
        another worker's. Raises Unavailable where the database stays away, and AppsMissing; the engine then
        tries again.
        """
        target = (job_id, site_id, engine_id, uuid4())
        is_settled = False
        try:
            is_settled = await self._run(target)
        except (Unavailable, StatementTimeout, AppsMissing):
            raise
        except LeaseLost:
            log.warning("job %s has been taken over by another worker", job_id)
            is_settled = True
        except Exception as error:
            log.exception("job %s could not be run", job_id)
            shown = str(error) if isinstance(error, RefusedByTable) else type(error).__name__
            reason = f"it could not be run: {shown}"
            await self._persist(lambda transaction: self._give_up(transaction, target, reason))
        self.freed.set()
        return is_settled

    async def _run(self, target: Target) -> bool:
        begun = await self._start(target) or await self._persist(
            lambda transaction: self._begin(transaction, target)
        )
        ends_at = asyncio.get_running_loop().time() + self._job_seconds(begun)
        while begun is not None:
            execution, call = begun
            answer = await self._call(call, ends_at)
            if values := values_of_end(execution, call, answer):
                await self._finish(execution, values)
                return True
            begun = await self._persist(
                lambda transaction, execution=execution, call=call, answer=answer: self._go_on(
                    transaction, execution, call, answer
                )
            )
        return False

    def _job_seconds(self, begun: tuple[Execution, Call] | None) -> float:
        """The job's own time limit: what its apps may take one after the other, within a bound."""
        chain = begun[0].chain if begun else ()
        calls = sum(self.apps[app].budget for app in chain)
        return min(calls + self.limits.margin_seconds, self.limits.job_seconds)

    def _lease_seconds(self, app: App) -> float:
        return min(app.budget, self.limits.job_seconds) + self.limits.margin_seconds

    async def _call(self, call: Call, ends_at: float) -> Answer:
        seconds = ends_at - asyncio.get_running_loop().time()
        if seconds <= 0:
            return Answer("timeout", error="not called: the time limit of the job was over")
        return await self.client.call(call.app, call.request, call.key, seconds=seconds)

    async def _persist(
        self,
        write: Callable[[Connection], Awaitable[ResultT]],
        connect: Callable[[], AbstractAsyncContextManager[Connection]] | None = None,
    ) -> ResultT:
        """Run one transaction, again while the database is away: an answer has cost tokens."""
        connect = connect or self.database.pipelined_transaction
        for pause in _PATIENCE:
            try:
                async with connect() as transaction:
                    return await write(transaction)
            except Unavailable as error:
                _repeats.tell(log, logging.WARNING, f"the worker waits: {error}")
                await asyncio.sleep(pause)
        async with connect() as transaction:
            return await write(transaction)

    async def _start(self, target: Target) -> tuple[Execution, Call] | None:
        """Start a job in one statement, where nothing stands out about it; else nothing has changed."""
        job_id, site_id, engine_id, lease_id = target
        key = self._key(job_id, 0)
        started = await self._persist(
            lambda connection: fast_path.start_job(
                connection,
                scope=Scope.of(site_id),
                target=(job_id, engine_id, lease_id),
                site_id=site_id,
                external_id=key,
                leases={name: self._lease_seconds(app) for name, app in self.apps.items()},
            ),
            self.database.connection,
        )
        if started is None:
            return None
        job = LeaseRow(started.app_types, False, False, True, *started[1:5])
        execution = Execution(job_id, site_id, job, engine_id, lease_id, {})
        call = Call(
            self.apps[job.app_types[0]],
            key,
            request_of(execution, key),
            closes_circuit=False,
            run=(started.run_id, started.run_created_at),
        )
        return execution, call

    async def _finish(self, execution: Execution, values: dict[str, Any]) -> None:
        """End a job in one statement."""
        if not await self._persist(
            lambda connection: fast_path.finish_job(connection, scope=execution.scope, values=values),
            self.database.connection,
        ):
            raise LeaseLost

    async def _begin(self, transaction: Connection, target: Target) -> tuple[Execution, Call] | None:
        job_id, site_id, engine_id, lease_id = target
        scope = Scope.of(site_id)
        job = await self._lease(transaction, target)
        if job is None:
            return None
        if not job.is_ours:
            await queue.leave_queue(transaction, job_id=job_id)
            return None
        if job.rescues > self.limits.rescues:
            reason = f"given up: {job.rescues} times its worker was lost or did not move it"
            await self._fail(transaction, target, job, reason)
            return None
        if missing := [app for app in job.app_types if app not in self.apps]:
            raise AppsMissing(f"job {job_id} needs {missing[0]}, which this worker's apps file does not name")
        if job.batch_id:
            await store.start_batch(transaction, scope=scope, batch_id=job.batch_id)
        earlier = await self._earlier_runs(transaction, scope, job_id, job) if job.was_leased else {}
        execution = Execution(
            job_id, site_id, job, engine_id, lease_id, earlier, cancelled=job.cancel_requested
        )
        return await self._next_call(transaction, await _with_input(transaction, execution))

    async def _lease(self, transaction: Connection, target: Target) -> LeaseRow | None:
        job_id, site_id, engine_id, lease_id = target
        return await store.lease_job(
            transaction,
            scope=Scope.of(site_id),
            job_id=job_id,
            engine_id=engine_id,
            lease_id=lease_id,
            lease_seconds=self.limits.margin_seconds,
        )

    async def _earlier_runs(
        self, transaction: Connection, scope: Scope, job_id: int, job: LeaseRow
    ) -> dict[int, EarlierRunRow]:
        places = {self._key(job_id, position): position for position in range(len(job.app_types))}
        rows = await store.list_earlier_runs(
            transaction, scope=scope, job_id=job_id, external_ids=list(places)
        )
        return {places[row.external_id]: row for row in rows}

    async def _go_on(
        self, transaction: Connection, execution: Execution, call: Call, answer: Answer
    ) -> tuple[Execution, Call] | None:
        """Write down an answer, and give the next call; None where the job has ended or is no longer ours."""
        lease = await store.check_lease(transaction, job_id=execution.job_id, lease_id=execution.lease_id)
        await self._finish_run(transaction, execution, call.key, answer)
        if answer.is_fault:
            app = call.app
            await circuits.count_failure(
                transaction,
                app_type=app.name,
                limit=app.failures,
                open_seconds=app.open_for,
                wait_seconds=self.limits.wait_seconds,
            )
        elif call.closes_circuit and not answer.is_fault:
            await circuits.count_success(transaction, app_type=call.app.name)
        cancelled = await lease.cancelled()
        if cancelled is None:
            raise LeaseLost
        return await self._next_call(transaction, after(execution, answer, cancelled))

    async def _next_call(
        self, transaction: Connection, execution: Execution
    ) -> tuple[Execution, Call] | None:
        while (status := end_of(execution)) is None:
            key = self._key(execution.job_id, execution.position)
            known = execution.earlier.get(execution.position)
            if known and known.status != "running":
                execution = after(execution, answer_of(known), execution.cancelled)
                continue
            app = self.apps[execution.chain[execution.position]]
            circuit = await circuits.check_circuit(
                transaction, app_type=app.name, probe_seconds=app.budget, job_id=execution.job_id
            )
            if circuit.may_wait and not circuit.allows and not execution.cancelled:
                await self._park(transaction, execution, app)
                return None
            started = await store.start_run(transaction, scope=execution.scope, run=run_row(execution, key))
            if circuit.allows:
                await store.renew_lease(
                    transaction, job_id=execution.job_id, lease_seconds=self._lease_seconds(app)
                )
                request = request_of(execution, key)
                return execution, Call(app, key, request, circuit.has_failed, await started.run())
            answer = Answer("circuit_open", error="not called: the app has failed too often")
            await self._finish_run(transaction, execution, key, answer)
            execution = after(execution, answer, execution.cancelled)
        await store.end_job(
            transaction,
            scope=execution.scope,
            job_id=execution.job_id,
            status=status,
            error=execution.error,
            tokens=execution.tokens,
        )
        return None

    async def _finish_run(
        self, transaction: Connection, execution: Execution, key: str, answer: Answer
    ) -> None:
        values = {"site_id": execution.site_id, "external_id": key, **values_of(answer)}
        await store.finish_run(transaction, scope=execution.scope, values=values)

    async def _park(self, transaction: Connection, execution: Execution, app: App) -> None:
        has_called = execution.position > 0 or bool(execution.earlier)
        await circuits.park_job(
            transaction,
            scope=execution.scope,
            job_id=execution.job_id,
            waits_for=app.name if has_called else None,
        )

    async def _give_up(self, transaction: Connection, target: Target, reason: str) -> None:
        lease = await self._lease(transaction, target)
        if lease is not None and lease.is_ours:
            await self._fail(transaction, target, lease, reason)

    async def _fail(self, transaction: Connection, target: Target, lease: LeaseRow, reason: str) -> None:
        """End a job that cannot go on, and whatever call of it has no answer."""
        job_id, site_id, engine_id, lease_id = target
        scope = Scope.of(site_id)
        answer = Answer("failed", error=reason)
        earlier = await self._earlier_runs(transaction, scope, job_id, lease)
        execution = Execution(job_id, site_id, lease, engine_id, lease_id, earlier)
        for position, run in earlier.items():
            if run.status == "running":
                await self._finish_run(transaction, execution, self._key(job_id, position), answer)
        await store.end_job(
            transaction,
            scope=scope,
            job_id=job_id,
            status="failed",
            error=answer.error,
            tokens=sum(run.tokens_used for run in earlier.values()),
        )

    def _key(self, job_id: int, position: int) -> str:
        return call_key(self.installation, job_id, position)


async def _with_input(transaction: Connection, execution: Execution) -> Execution:
    """With the answer that the first app gets, where the job goes on with what another has begun."""
    run_id = execution.job.input_run_id
    if run_id is None:
        return execution
    answer = await store.get_answer(transaction, scope=execution.scope, run_id=run_id)
    if answer is None:
        return replace(execution, error="the answer that it was to go on with is no longer there")
    return replace(execution, answer=answer.response_text)
