"""Under a path of another host: behind nginx and Caddy as docs/front-ends.md sets them up, and without."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from graph.processes.banner import LOCAL
from resolvers.access.sessions import issue_sign_in_token
from tests.conftest import Api
from tests.support.serving import ROOT, Server, serving

ASK = {"query": "{ viewer { name } }"}
HTML = {"accept": "text/html"}
ADDRESSES = re.compile(r'(?:src|href)="([^"]+)"')
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
CADDY = shutil.which("caddy")
NGINX_FILE = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log; events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; {block} }}
}}
"""
CADDY_FILE = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
{block}
}}
"""
PROXIES = {
    "nginx": (NGINX, ["-c", "{file}"], NGINX_FILE),
    "caddyfile": (CADDY, ["run", "--adapter", "caddyfile", "--config", "{file}"], CADDY_FILE),
}


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def behind(kind: str, server: Server, folder: Path) -> Iterator[str]:
    """The address of a proxy that the guide's own lines set up before a server."""
    program, options, file = PROXIES[kind]
    assert program
    (block,) = re.findall(rf"```{kind}\n(.*?)```", (ROOT / "docs" / "front-ends.md").read_text(), re.DOTALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    block = block.replace("127.0.0.1:8000", server.address.removeprefix("http://"))
    written = folder / "proxy.conf"
    written.write_text(file.format(folder=folder, port=port, block=block))
    command = [program, *(option.format(file=written) for option in options)]
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/usr/sbin"}
    with (folder / "said").open("w") as said:
        proxy = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    try:
        while not is_open(port):
            assert proxy.poll() is None, (folder / "said").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        proxy.terminate()
        proxy.wait(20)


def check(address: str, prefix: str, api: Api) -> None:
    """Everything that names an address names the right one."""
    with httpx.Client(base_url=address, headers={"accept-encoding": "identity"}) as browser:
        answer = browser.post(f"{prefix}/graphql", json=ASK, headers=api.headers)
        assert answer.json() == {"data": {"viewer": {"name": "tests"}}}
        page = browser.get(f"{prefix}/graphql", headers=HTML).text
        named = ADDRESSES.findall(page)
        if (ROOT / "web" / "dist" / "index.html").is_file():
            assert named
        assert all(each.startswith(f"{prefix}/graphql/assets/") for each in named)
        assert {browser.get(each).status_code for each in named} <= {200}
        assert f"at {prefix}/graphql." in browser.get(f"{prefix}/nothing").text

        signing_in = browser.get(f"{prefix}/sign-in", params={"token": a_token(api)})
        assert (signing_in.status_code, signing_in.headers["location"]) == (303, f"{prefix}/graphql")
        cookie = signing_in.headers["set-cookie"]
        assert f"Path={prefix};" in cookie
        asked = browser.post(f"{prefix}/graphql", json=ASK, headers={"origin": address})
        assert asked.json() == {"data": {"viewer": {"name": "local"}}}
        signing_out = browser.post(f"{prefix}/sign-out", headers={"origin": address})
        assert (signing_out.status_code, signing_out.headers["location"]) == (303, f"{prefix}/graphql")


def a_token(api: Api) -> str:
    return api.runner.run(issue_sign_in_token(api.app.state.database, LOCAL, 60))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        pytest.param("nginx", {}, marks=pytest.mark.skipif(NGINX is None, reason="no nginx here")),
        pytest.param(
            "caddyfile",
            {"RUNGLASS_ROOT_PATH": "/ops"},
            marks=pytest.mark.skipif(CADDY is None, reason="no Caddy here"),
        ),
    ],
)
def test_behind_a_proxy_as_the_guide_sets_it_up(
    api: Api, dsn: str, tmp_path: Path, kind: str, settings: dict[str, str]
) -> None:
    with serving(dsn, **settings) as server, behind(kind, server, tmp_path) as address:
        check(address, "/ops", api)


def test_with_the_setting_the_path_may_be_cut_off_or_not(api: Api, dsn: str) -> None:
    with serving(dsn, RUNGLASS_ROOT_PATH="/ops/eu/") as server:
        check(server.address, "/ops/eu", api)
        answer = httpx.post(f"{server.address}/graphql", json=ASK, headers=api.headers)
        assert answer.status_code == 200
        # A path that only begins alike is another one.
        assert httpx.get(f"{server.address}/ops/europe/graphql", headers=HTML).status_code == 404
        secure = {"x-forwarded-proto": "https", "x-forwarded-prefix": "/other"}
        link = {"token": a_token(api)}
        cookie = httpx.get(f"{server.address}/sign-in", params=link, headers=secure).headers["set-cookie"]
        assert cookie.startswith("__Secure-runglass_session=")
        assert "Path=/ops/eu;" in cookie
        assert "Secure" in cookie


@pytest.mark.parametrize(
    ("trusted", "said", "shown"),
    [
        ("10.0.0.0/8, 127.0.0.0/8", ["/ops", "/ops/"], "/ops"),
        ("*", ["/ops"], "/ops"),
        ("10.0.0.1", ["/ops"], ""),
        ("127.0.0.1", ["//evil.example", "/a/../b", '/"><script>', "/" + "a" * 300, "/", "ops"], ""),
    ],
)
def test_what_a_proxy_says_counts_where_it_is_trusted(
    api: Api, dsn: str, trusted: str, said: list[str], shown: str
) -> None:
    with serving(dsn, RUNGLASS_TRUSTED_PROXIES=trusted) as server:
        for prefix in said:
            headers = {"x-forwarded-prefix": prefix, "x-forwarded-for": "192.0.2.7"}
            assert f"at {shown}/graphql." in httpx.get(f"{server.address}/nothing", headers=headers).text
            link = {"token": a_token(api)}
            signed = httpx.get(f"{server.address}/sign-in", params=link, headers=headers)
            assert signed.headers["location"] == f"{shown}/graphql"


def test_at_the_root_a_secure_cookie_is_the_hosts(api: Api, dsn: str) -> None:
    with serving(dsn) as server:
        link = {"token": a_token(api)}
        secure = {"x-forwarded-proto": "https"}
        cookie = httpx.get(f"{server.address}/sign-in", params=link, headers=secure).headers["set-cookie"]
        assert cookie.startswith("__Host-runglass_session=")
        assert "Path=/;" in cookie
