"""What the roll-ups cost those who write run logs: eight writers with and without the triggers that count.

    python bench/writers.py --dsn 'host=/run/pg user=postgres' [--seconds 10] [--rounds 5]

Makes and drops a database. pgbench inserts one row a transaction over 8 connections; while the triggers are
on, what they append is folded every second, as a server does. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

sys.path.insert(0, str(Path(__file__).parent.parent))

from db.embedded.place import find_binaries
from db.migrations.runner import apply_migrations
from db.usage import rollups

DATABASE = "runglass_writers"
INSERT = """\
\\set h random(0, 1000000000)
INSERT INTO biz.ai_run_logs (site_id, app_type, member_id, session_id, model, request_prompt, response_text,
 tokens_used, prompt_tokens, completion_tokens, latency_ms, status, error_message, finished_at)
 VALUES ('site_' || :h % 20, 'app_' || :h % 8, 'member_' || :h % 5000, 'session_' || :h % 100000,
 'model_' || :h % 4, 'Summarise the open orders of the member and say which of them are late.',
 'There are four open orders; the oldest was placed on Monday and will be sent tomorrow.',
 :h % 3000, :h % 2000, :h % 1000, :h % 20000, CASE WHEN :h % 25 = 0 THEN 'failed' ELSE 'success' END,
 CASE WHEN :h % 25 = 0 THEN 'the provider did not answer in time' END, now());
"""


async def written(dsn: str, program: str, folder: Path, seconds: float) -> float:
    """Rows a second of one round."""
    script = folder / "insert.sql"
    script.write_text(INSERT)
    command = [
        program,
        "-n",
        "-M",
        "prepared",
        "-c",
        "8",
        "-j",
        "2",
        "-f",
        script,
        "-T",
        f"{seconds:.0f}",
        dsn,
    ]
    run = partial(subprocess.run, capture_output=True, text=True, check=True, timeout=seconds + 30)
    output = (await asyncio.to_thread(run, command)).stdout
    rate = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    assert rate, output
    return float(rate[1])


async def written_and_folded(dsn: str, program: str, folder: Path, seconds: float) -> float:
    """Rows a second of one round while they are folded; the rest is folded afterwards."""
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    async with connection:
        writing = asyncio.create_task(written(dsn, program, folder, seconds))
        while not (await asyncio.wait((writing,), timeout=1))[0]:
            await rollups.fold(connection)
        await rollups.fold(connection)
    return writing.result()


async def main(dsn: str, seconds: float, rounds: int) -> None:
    program = str(find_binaries() / "pgbench")
    target = make_conninfo(dsn, dbname=DATABASE)
    rates: dict[str, list[float]] = {"with roll-ups": [], "without": []}
    maintenance = await psycopg.AsyncConnection.connect(dsn, dbname="postgres", autocommit=True)
    async with maintenance:
        await maintenance.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        await maintenance.execute(f"CREATE DATABASE {DATABASE}")
        await apply_migrations(target)
        writer = await psycopg.AsyncConnection.connect(target, autocommit=True)
        async with writer:
            for _ in range(rounds):
                with tempfile.TemporaryDirectory() as folder:
                    for name, run in (("with roll-ups", written_and_folded), ("without", written)):
                        rates[name].append(await run(target, program, Path(folder), seconds))
                        # What a round wrote must not be the next one's to clean up.
                        await writer.execute("TRUNCATE biz.ai_run_logs")
                        await rollups.fold(writer)
                        await writer.execute("CHECKPOINT")
                        turn = "DISABLE" if name == "with roll-ups" else "ENABLE"
                        await writer.execute(f"ALTER TABLE biz.ai_run_logs {turn} TRIGGER USER")
        await maintenance.execute(f"DROP DATABASE {DATABASE}")
    shares = [on / off for on, off in zip(rates["with roll-ups"], rates["without"], strict=True)]
    print("| 8 writers | rows a second: median (least to most) |\n| --- | ---: |")
    for name, seen in rates.items():
        print(f"| {name} | {statistics.median(seen):,.0f} ({min(seen):,.0f} to {max(seen):,.0f}) |")
    print(
        f"| share that is kept | {statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%}) |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dsn", required=True, help="a server on which a database may be made and dropped")
    parser.add_argument("--seconds", type=float, default=10, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.dsn, arguments.seconds, arguments.rounds))
