"""Runs the application under uvicorn: one process, or several on one socket."""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.config
import socket
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.supervisors import Multiprocess

from db.postgres.pool import Database
from graph.http.prefix import UnderPrefix
from graph.http.uvicorn_adapter import ConnectionLimits, ServerConfig, protocol_options
from graph.processes.banner import start_message
from graph.processes.log_limits import FloodFilter
from graph.processes.migrating import prepare_store
from graph.processes.start_log import log_start
from graph.processes.stopping import Draining
from graph.settings.config import Settings, SettingsError, load_settings, pass_on

log = logging.getLogger(__name__)


def _logging(level: str) -> dict[str, Any]:
    """One line per record on standard error, in this process and in each worker."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "filters": {"floods": {"()": FloodFilter}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["floods"]}
        },
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        # What uvicorn says of its own start and stop is said by us.
        "loggers": {"uvicorn": {"level": "WARNING"}},
    }


def run_server(settings: Settings, *, demo: bool, workers: int, may_migrate: bool = True) -> None:
    """Migrate, load demo data if asked to, and serve until told to stop."""
    logging.config.dictConfig(_logging(settings.log_level))
    listener = _listen(settings.host, settings.port)
    log_start("the server", settings)
    try:
        prepare_store(settings, may_migrate=may_migrate)
        if demo:
            _load_demo(settings)
        # Who reads the address may call at once: until the server is up, callers wait instead of failing.
        listener.listen()
        asyncio.run(_greet(settings, listener, demo=demo))
        with _demo_work(settings) if demo else nullcontext():
            log.info("the server listens on %s:%d", *listener.getsockname()[:2])
            _serve(settings, listener, workers)
    finally:
        listener.close()
        log.info("the server has stopped")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror} (choose another PORT)"
        ) from error
    listener.set_inheritable(True)
    return listener


def _demo_work(settings: Settings) -> AbstractContextManager[None]:
    # Imported late: only a demo needs it, and starting must be quick.
    from graph.processes.demo_apps import start_demo_work

    return start_demo_work(settings)


def _load_demo(settings: Settings) -> None:
    from resolvers.demo.load import load_demo

    summary = asyncio.run(load_demo(settings.dsn))
    if summary.loaded:
        log.info("loaded demo data: %d runs, %d jobs", summary.runs, summary.jobs)


async def _greet(settings: Settings, listener: socket.socket, *, demo: bool) -> None:
    host, port = listener.getsockname()[:2]
    database = Database(settings.dsn, settings.pool)
    await database.open()
    try:
        text = await start_message(database, settings, host, port, demo=demo)
    finally:
        await database.close()
    # The terminal's only: a log would keep the link and the key.
    sys.stdout.write(text)
    sys.stdout.flush()


def load_app() -> ASGIApp:
    """The application, in a process that does nothing but serve it; uvicorn calls this.

    Looking for garbage while modules are loaded costs a tenth of the start and finds little. What is loaded
    stays as long as the process, so that later collections, which stop every request, need not go through it.
    """
    gc.disable()
    try:
        from graph.app import create_app

        settings = load_settings()
        # Starlette's and uvicorn's types of an application differ in names only.
        app: Any = Draining(create_app(settings), settings.drain_timeout)
        trusted = settings.trusted_proxies
        behind_proxies: Any = ProxyHeadersMiddleware(app, trusted)
        return UnderPrefix(behind_proxies, root_path=settings.root_path, trusted_proxies=trusted)
    finally:
        gc.freeze()
        gc.enable()


def server_config(settings: Settings, *, workers: int) -> ServerConfig:
    """How uvicorn serves the application."""
    limits = ConnectionLimits(
        head_bytes=settings.max_head_bytes,
        head_seconds=settings.head_timeout,
        linger_bytes=settings.linger_bytes,
        linger_seconds=settings.linger_timeout,
        stalled_seconds=settings.stalled_timeout,
    )
    return ServerConfig(
        "graph.processes.server:load_app",
        limits,
        factory=True,
        workers=workers,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        interface="asgi3",
        **protocol_options(limits),
        ws="none",
        log_config=_logging(settings.log_level),
        access_log=False,
        server_header=False,
        # What proxies say is read by `load_app`.
        proxy_headers=False,
        date_header=False,
        timeout_graceful_shutdown=settings.stop_timeout,
        timeout_worker_healthcheck=60,
    )


def _serve(settings: Settings, listener: socket.socket, workers: int) -> None:
    # Worker processes import the application and read the settings from the environment.
    pass_on(settings)
    config = server_config(settings, workers=workers)
    if workers == 1:
        uvicorn.Server(config).run(sockets=[listener])
    else:
        Processes(config, sockets=[listener]).run()


class Processes(Multiprocess):
    """Several processes on one socket, which is closed as soon as none of them takes connections from it."""

    def terminate_all(self) -> None:
        """Tell the processes to stop."""
        super().terminate_all()
        for listener in self.sockets:
            listener.close()
