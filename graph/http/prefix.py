"""The path under which the outside sees the server, where it is not the root of its host."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from graph.settings.config import PREFIX

HEADER = b"x-forwarded-prefix"


class UnderPrefix:
    """An application that knows its prefix (`root_path`): its own, or else the one that a trusted proxy says.

    Requests come with the prefix or without it, as proxies may cut it off. It must see the addresses of the
    proxies themselves.
    """

    def __init__(self, app: ASGIApp, *, root_path: str = "", trusted_proxies: str = "") -> None:
        self._app = app
        self._root_path = root_path
        self._trusted = _Networks(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "lifespan" and (prefix := self._root_path or self._forwarded(scope)):
            scope["root_path"] = prefix
            path: str = scope["path"]
            if path != prefix and not path.startswith(prefix + "/"):
                scope["path"] = prefix + path
        await self._app(scope, receive, send)

    def _forwarded(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name == HEADER:
                prefix = value.decode("latin-1").rstrip("/")
                client = scope.get("client")
                known = PREFIX.fullmatch(prefix) and self._trusted.include(client[0] if client else "")
                return prefix if known else ""
        return ""


class _Networks:
    """Networks with commas between them; `*` is every address, also that of a socket without one."""

    def __init__(self, text: str) -> None:
        self._every = text == "*"
        names = [] if self._every else [name.strip() for name in text.split(",")]
        self._networks = [ip_network(name) for name in names if name]

    def include(self, address: str) -> bool:
        """Whether an address lies in one of them."""
        if self._every:
            return True
        try:
            known = ip_address(address)
        except ValueError:
            return False
        return any(known in network for network in self._networks)
