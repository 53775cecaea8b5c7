from __future__ import annotations

import pytest

from tests.db.recount import in_utc


@pytest.fixture
def database(dsn: str) -> str:
    """The address of a migrated database, with sessions in UTC as those of the pool are."""
    return in_utc(dsn)
