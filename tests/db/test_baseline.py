"""The baseline makes what the migrations from before it made, and their databases go on from it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from pathlib import Path

import psycopg
import pytest

from db.migrations import runner as migrate
from db.migrations.former import FORMER_MIGRATIONS
from db.migrations.runner import MigrationError, apply_migrations, known_migrations
from tests.db.adopted import KINDS
from tests.db.catalog import catalog
from tests.db.recount import BOUNDS, add_run, check, connect, fold, in_utc, write_at_random

FORMER = Path(__file__).parent / "former"
FUNCTIONS = Path(migrate.__file__).parents[1] / "functions"
BASELINE = "0009"
LEDGER = "INSERT INTO runglass.migrations (number, name, checksum) VALUES (%s, %s, %s)"


def former_catalog(kind: str) -> set[str]:
    """What the former files made of a kind of database: what they made of a new one, and the differences."""
    new, *others = (FORMER / "catalogs.txt").read_text().split("== ")[1:]
    lines = set(new.splitlines()[1:])
    for other in others:
        name, *differences = other.splitlines()
        if name == kind:
            gone = {line[1:] for line in differences if line[0] == "-"}
            lines = {line for line in lines if digest(line) not in gone}
            lines |= {line[1:] for line in differences if line[0] == "+"}
    return lines


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def functions_changed_since() -> set[str]:
    """The names of the functions of the files that later migrations include."""
    files = {name for each in known_migrations() if each.number > 9 for name in each.includes}
    return {
        name for file in files for name in re.findall(r"runglass\.(\w+)\(", (FUNCTIONS / file).read_text())
    }


def but_for(names: set[str], lines: set[str]) -> set[str]:
    return {
        re.sub(r" [0-9a-f]{16}$", "", line)
        if line.startswith("function") and re.split(r"[.(]", line)[1] in names
        else line
        for line in lines
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_baseline_makes_what_the_former_files_made(kind: str, empty_dsn: str, tmp_path: Path) -> None:
    for file in Path(migrate.__file__).parent.glob("*.sql"):
        # The triggers of the former files are made by the one after the baseline that counts.
        if file.name[:4] <= BASELINE or file.stem.endswith("_counting"):
            shutil.copy(file, tmp_path)
    # What the newest functions call of later migrations.
    (tmp_path / "0010_called.sql").write_text(
        "CREATE FUNCTION runglass.stored_time_zone() RETURNS text LANGUAGE sql STABLE AS $$SELECT 'UTC'$$"
    )
    with connect(empty_dsn) as connection:
        connection.execute(KINDS[kind] or "SELECT")
    asyncio.run(apply_migrations(empty_dsn, folder=tmp_path))
    changed = functions_changed_since()
    now, before = but_for(changed, catalog(empty_dsn)), but_for(changed, former_catalog(kind))
    # New functions may be added; that which counted models later went, and those that wrote rows as JSON.
    assert {line for line in now ^ before if not line.startswith("function")} == set()
    assert {line.split("(")[0] for line in before - now} == {
        f"function runglass.{name}" for name in ("count_models_of_a_day", "json_string", "json_instant")
    }


@pytest.fixture
def former(empty_dsn: str) -> str:
    """A new database as the former files made it, with the ledger of all of them."""
    with connect(empty_dsn) as connection:
        connection.execute("SET check_function_bodies = off")
        connection.execute((FORMER / "schema.sql").read_text())
        connection.execute("INSERT INTO runglass.installation DEFAULT VALUES")
        connection.execute("INSERT INTO runglass.model_usage_start VALUES ('-infinity')")
        for number, (name, checksum) in enumerate(FORMER_MIGRATIONS.items(), start=1):
            connection.execute(LEDGER, (number, name, checksum))
    return in_utc(empty_dsn)


def test_a_database_of_the_former_files_goes_on_from_the_baseline(former: str, dsn: str) -> None:
    write_at_random(former, 1, 60)
    fold(former)
    write_at_random(former, 2, 20)
    later = [each.name for each in known_migrations() if each.name[:4] > BASELINE]
    applied = asyncio.run(apply_migrations(former))
    assert applied[:-1] == later
    with connect(former) as connection:
        ledger = connection.execute("SELECT name, checksum FROM runglass.migrations").fetchall()
        connection.execute("SELECT runglass.ensure_run_log_partitions(current_date, current_date)")
    assert sorted(ledger) == [(each.name, each.checksum) for each in known_migrations()]
    assert catalog(former) == catalog(dsn)
    add_run_and_compare(former)
    assert asyncio.run(apply_migrations(former)) == []


def add_run_and_compare(dsn: str) -> None:
    with connect(dsn) as connection:
        add_run(connection, tokens_used=7)
    asyncio.run(check(dsn, *BOUNDS))
    fold(dsn)
    asyncio.run(check(dsn, *BOUNDS))


@pytest.mark.parametrize("missing", [1, 8, 16])
def test_a_part_of_the_former_files_is_refused_in_one_line(former: str, missing: int) -> None:
    with connect(former) as connection:
        connection.execute("DELETE FROM runglass.migrations WHERE number = %s", (missing,))
    before = catalog(former)
    with pytest.raises(MigrationError, match="finish it with the version that began it") as caught:
        asyncio.run(apply_migrations(former))
    assert "\n" not in str(caught.value)
    with psycopg.connect(former) as connection:
        assert connection.execute("SELECT count(*) FROM runglass.migrations").fetchone() == (15,)
    assert catalog(former) == before


def test_a_function_that_was_changed_is_applied_again_by_a_migration() -> None:
    latest: dict[str, str] = {}
    for each in known_migrations():
        latest |= each.includes
    assert set(latest) == {file.name for file in FUNCTIONS.glob("*.sql")}
    for name, told in latest.items():
        # Of those of the baseline the catalogs above tell.
        assert not told or told == digest((FUNCTIONS / name).read_text()), name
