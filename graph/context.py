"""What every resolver of one operation gets: the caller, the database, the loaders and the settings."""

from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import strawberry

from db.loaders import Loaders
from db.postgres.pool import Database
from db.sql.scope import Scope
from graph.settings.config import Settings
from resolvers.access.callers import Caller
from resolvers.periods import time_zone


@dataclass(slots=True)
class Context:
    """One operation of one caller. `access_changed` makes this process look every caller up again."""

    database: Database
    settings: Settings
    caller: Caller
    loaders: Loaders
    access_changed: Callable[[], None]
    allow_introspection: bool = True

    def close(self) -> None:
        """Cancel what is still being loaded for an operation that is over."""
        self.loaders.cancel()

    @property
    def identity(self) -> str:
        """What tells the caller from all others."""
        return self.caller.identity

    @property
    def scope(self) -> Scope:
        """The sites the caller may see."""
        return self.caller.scope

    def zone(self, name: str | None = None) -> ZoneInfo:
        """The named time zone, or the configured one. Raises `InvalidInput` for an unknown name."""
        return time_zone(self.settings.time_zone if name is None else name)


Info = strawberry.Info[Context, None]
