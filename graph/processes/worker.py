"""`runglass worker`: run jobs until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable

from db.postgres.errors import StatementTimeout, Unavailable
from db.postgres.pool import Database
from db.postgres.repeats import Repeats
from db.worker.engine import JobEngine
from db.worker.installation import get_installation
from graph.processes.migrating import prepare_store
from graph.processes.start_log import log_start
from graph.settings.apps_file import load_apps
from graph.settings.config import Settings, environment
from resolvers.worker.admission import Admission
from resolvers.worker.apps import App, AppClient
from resolvers.worker.installation import COPIED
from resolvers.worker.work import Limits, Runner

log = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_WAIT_SECONDS = 1.0


def run_worker(settings: Settings, *, with_parent: bool = False, may_migrate: bool = True) -> None:
    """Work until SIGTERM or SIGINT: then finish what runs, within the grace, and give back the rest.

    `with_parent` stops the same way when standard input closes.
    """
    logging.basicConfig(level=settings.log_level.upper(), format=LOG_FORMAT)
    for library in ("procrastinate", "httpx", "httpcore"):
        # What they say of faults is said by us, in one line.
        logging.getLogger(library).setLevel(logging.CRITICAL)
    apps = load_apps(settings.apps_file, environment())
    log_start("the worker", settings)
    prepare_store(settings, may_migrate=may_migrate)
    if not apps:
        log.warning("RUNGLASS_APPS_FILE names no app: every job waits for a dispatcher of your own")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_work_until_told(settings, apps, with_parent))
    log.info("the worker has stopped")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _work_until_told(settings: Settings, apps: dict[str, App], with_parent: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if with_parent:
        # A pipe, so that a read ends when the other process does.
        loop.add_reader(0, lambda: None if os.read(0, 1024) else (loop.remove_reader(0), stop.set()))
    await work(settings, apps, stop)


async def work(settings: Settings, apps: dict[str, App], stop: asyncio.Event) -> None:
    """Run jobs until `stop` is set."""
    database = Database(settings.dsn, settings.pool)
    client = AppClient(connections=settings.worker_concurrency)
    await database.open()
    side: list[asyncio.Task[None]] = []
    try:
        runner = await _runner(settings, apps, database, client, stop)
        if runner is None:
            return
        admission = Admission(database, apps, settings.site_concurrency, settings.worker_lease, runner.freed)
        side = [
            asyncio.create_task(admission.keep_admitting()),
            asyncio.create_task(admission.keep_rescuing()),
        ]
        log.info("working for %s", ", ".join(sorted(apps)) or "no app")
        await _engine(settings, runner, admission).run(stop)
    finally:
        for task in side:
            task.cancel()
        if side:
            await asyncio.wait(side)
        await client.close()
        await database.close()


async def _runner(
    settings: Settings, apps: dict[str, App], database: Database, client: AppClient, stop: asyncio.Event
) -> Runner | None:
    repeats = Repeats()
    while not stop.is_set():
        try:
            async with database.connection() as connection:
                installation = await get_installation(connection)
            if not installation.is_copy:
                return Runner(database, client, apps, installation.id, _limits(settings))
            reason = COPIED
        except (Unavailable, StatementTimeout) as error:
            reason = str(error)
        repeats.tell(log, logging.WARNING, f"the worker waits: {reason}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WAIT_SECONDS):
                await stop.wait()
    return None


def _limits(settings: Settings) -> Limits:
    return Limits(
        job_seconds=settings.job_time_limit,
        margin_seconds=settings.worker_lease,
        wait_seconds=settings.circuit_wait,
        rescues=settings.job_rescues,
    )


def _engine(settings: Settings, runner: Runner, admission: Admission) -> JobEngine:
    return JobEngine(
        settings.dsn,
        settings.pool,
        concurrency=settings.worker_concurrency,
        lease_seconds=settings.worker_lease,
        grace_seconds=settings.worker_grace,
        run_job=runner.run_job,
        admit=admission.admit,
    )
