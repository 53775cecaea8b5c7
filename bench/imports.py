"""How fast `runglass import` loads, and that its memory stays flat however long the file is.

    python bench/imports.py [--rows 10000000] [--folder /var/tmp] [--only trace]

Writes files with the columns of the trace of Azure's language models (a time, two counts of tokens), alone,
with an external id a row, and as a JSON array with ids; loads each into an empty embedded PostgreSQL, durable
as in production, by the command in a process of its own; and prints a table in Markdown: rows a second from
the start of the process to its end, its largest resident size, and the machine's load. Ten million rows need
15 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.store import SCRATCH
from db.embedded import server as embedded

ROOT = Path(__file__).parent.parent
SEED = 14
PERIOD = timedelta(days=60)
COLUMNS = ["created_at=TIMESTAMP", "prompt_tokens=ContextTokens", "completion_tokens=GeneratedTokens"]
SET = ["site_id=acme", "app_type=code_assistant", "status=success"]


def drawn(rows: int) -> Iterator[tuple[str, int, int, str]]:
    """Times, tokens and ids, the same at each run."""
    random_ = random.Random(SEED)
    begin = datetime.now(UTC).replace(tzinfo=None) - PERIOD
    for row in range(rows):
        moment = begin + PERIOD * (row / rows)
        prompt, completion = random_.randint(1, 8000), random_.randint(1, 500)
        yield f"{moment:%Y-%m-%d %H:%M:%S.%f}0", prompt, completion, f"{random_.getrandbits(96):024x}"


def write_trace(path: Path, rows: int) -> None:
    """CSV with the trace's columns."""
    with path.open("w") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        file.writelines(f"{moment},{prompt},{answer}\n" for moment, prompt, answer, _ in drawn(rows))


def write_ids(path: Path, rows: int) -> None:
    """The same with an external id a row."""
    with path.open("w") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens,external_id\n")
        file.writelines(f"{moment},{prompt},{answer},{id_}\n" for moment, prompt, answer, id_ in drawn(rows))


def write_array(path: Path, rows: int) -> None:
    """The same as a JSON array on a single line."""
    with path.open("w") as file:
        for number, (moment, prompt, answer, id_) in enumerate(drawn(rows)):
            file.write("[" if number == 0 else ", ")
            file.write(
                f'{{"TIMESTAMP": "{moment}", "ContextTokens": {prompt},'
                f' "GeneratedTokens": {answer}, "external_id": "{id_}"}}'
            )
        file.write("]")


CASES: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "trace": ("the trace's columns, CSV", write_trace),
    "ids": ("with external ids, CSV", write_ids),
    "array": ("with external ids, a JSON array", write_array),
}


def loaded(dsn: str, path: Path) -> tuple[float, int]:
    """Import a file by the command; gives the seconds it took and its largest resident size in MB."""
    command = [sys.executable, "-m", "graph", "import", str(path)]
    for option, values in (("--column", COLUMNS), ("--set", SET)):
        for value in values:
            command += [option, value]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"DATABASE_URL": dsn})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit("the import failed")
    return time.monotonic() - began, usage.ru_maxrss // 1024


def main(rows: int, folder: Path, only: str | None) -> None:
    """Print a line of the table for each kind of file."""
    print(f"| {rows:,} rows | rows a second | largest resident size, MB | load |")
    print("| --- | ---: | ---: | ---: |")
    for case, (name, write) in CASES.items():
        if only not in (None, case):
            continue
        with tempfile.TemporaryDirectory(prefix="runglass-bench-", dir=folder) as scratch:
            place = Path(scratch)
            place.chmod(0o711)  # as root, another account runs PostgreSQL and has to reach its folder
            path = place / "file"
            write(path, rows)
            with embedded.start(place / "store") as server:
                seconds, resident = loaded(server.dsn(), path)
        print(f"| {name} | {rows / seconds:,.0f} | {resident:,} | {os.getloadavg()[0]:.1f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument(
        "--folder", type=Path, default=SCRATCH, help="where files and the database are written"
    )
    parser.add_argument("--only", choices=list(CASES))
    arguments = parser.parse_args()
    main(arguments.rows, arguments.folder, arguments.only)
