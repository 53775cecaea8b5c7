"""Runs the application under uvicorn: one process, or several on one socket."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

import uvicorn
from uvicorn.supervisors import Multiprocess

from db.migrate import apply_migrations
from graph.config import Settings, SettingsError, pass_on

log = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_server(settings: Settings, *, demo: bool, workers: int) -> None:
    """Migrate, load demo data if asked to, and serve until told to stop."""
    logging.basicConfig(level=settings.log_level.upper(), format=LOG_FORMAT)
    listener = _listen(settings.host, settings.port)
    try:
        for name in asyncio.run(apply_migrations(settings.dsn)):
            log.info("applied %s", name)
        if demo:
            _load_demo(settings)
        # Who reads the address may call at once: until the server is up, callers wait instead of failing.
        listener.listen()
        _greet(listener)
        _serve(settings, listener, workers)
    finally:
        listener.close()


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


def _load_demo(settings: Settings) -> None:
    raise NotImplementedError


def _greet(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"Runglass is at http://{shown}:{port}/graphql (Ctrl-C stops it)\n")
    sys.stdout.flush()


def _serve(settings: Settings, listener: socket.socket, workers: int) -> None:
    # Worker processes import the application and read the settings from the environment.
    pass_on(settings)
    config = uvicorn.Config(
        "graph.app:create_app",
        factory=True,
        workers=workers,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    if workers == 1:
        server.run(sockets=[listener])
    else:
        Multiprocess(config, sockets=[listener]).run()
