"""The explorer's page and files over HTTP: headers, policy, caching, and nothing outside the bundle."""

import asyncio
import gzip
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from graph.http.explorer import explorer_page, explorer_routes

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "console.log(1);"
PAGE = (ROOT / "web" / "index.html").read_text(encoding="utf-8")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; "
    "style-src-attr 'unsafe-inline'; worker-src 'self'; font-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FIXED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Markup(HTMLParser):
    """Collects what a strict policy forbids, and the addresses that a page names."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.nonces: list[str] = []
        self._inside_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        self.inline += [tag] if tag == "style" else []
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.nonces += [given["nonce"] or ""] if "nonce" in given else []
        self._inside_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._inside_script = False

    def handle_data(self, data: str) -> None:
        if self._inside_script and data.strip():
            self.inline.append(data)


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    assets = tmp_path / "dist" / "assets"
    assets.mkdir(parents=True)
    (assets.parent / "index.html").write_text(PAGE, encoding="utf-8")
    (assets / "index-a1b2.js").write_text(SCRIPT)
    (assets / "index-a1b2.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (assets / "graphql.worker-c3.js").write_text(SCRIPT)
    (assets / "index-d4.css").write_text("a{}")
    (assets / "font-e5.woff2").write_bytes(b"wOF2")
    (assets / "notes.txt").write_text("no part of the page")
    (assets.parent / "secret.js").write_text("outside")
    (tmp_path / "outside.js").write_text("outside")
    return assets.parent


def get(path: str, dist: Path, root_path: str = "", **headers: str) -> httpx.Response:
    async def page(request: Request) -> Response:
        return explorer_page(request, dist)

    app = Starlette(routes=[Route("/graphql", page), *explorer_routes(dist)])

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app, root_path=root_path), base_url="http://runglass"
        ) as client:
            return await client.get(path, headers={"Accept-Encoding": "identity"} | headers)

    return asyncio.run(send())


def test_page_carries_the_strict_policy_and_is_never_stored(dist: Path) -> None:
    answer = get("/graphql", dist)
    (nonce,) = Markup(answer.text).nonces
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY.format(nonce=nonce)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "Accept"
    assert {name: answer.headers[name] for name in FIXED} == FIXED


def test_each_page_has_a_nonce_of_its_own(dist: Path) -> None:
    nonces = {nonce for _ in range(5) for nonce in Markup(get("/graphql", dist).text).nonces}
    assert len(nonces) == 5
    assert all(re.fullmatch(r"[\w-]{22}", nonce) for nonce in nonces)


def test_page_names_only_its_own_addresses_and_nothing_inline(dist: Path) -> None:
    page = Markup(get("/graphql", dist).text)
    assert page.inline == []
    assert page.addresses
    assert all(re.match(r"\./src/", address) for address in page.addresses)


def test_built_page_names_only_its_own_files_and_nothing_inline() -> None:
    dist = ROOT / "web" / "dist"
    if not (dist / "index.html").is_file():
        pytest.skip("web/dist is not built: python web/build.py")
    page = Markup(get("/graphql", dist).text)
    assert page.inline == []
    assert page.addresses
    assert {get(address, dist).status_code for address in page.addresses} == {200}
    assert all(address.startswith("/graphql/assets/") for address in page.addresses)
    under = Markup(get("/ops/graphql", dist, "/ops").text)
    assert under.addresses == [f"/ops{address}" for address in page.addresses]
    assert {get(address, dist, "/ops").status_code for address in under.addresses} == {200}


def test_built_files_carry_no_font_inline_and_run_no_text_as_code() -> None:
    assets = ROOT / "web" / "dist" / "assets"
    if not assets.is_dir():
        pytest.skip("web/dist is not built: python web/build.py")
    styles = "".join(path.read_text(encoding="utf-8") for path in assets.glob("*.css"))
    scripts = "".join(path.read_text(encoding="utf-8") for path in assets.glob("*.js"))
    assert "@font-face" in styles
    assert not re.search(r"url\([\"']?(?:data:font|https?:)|@import", styles)
    assert not re.search(r"new Function\(|[^\w.$]eval\(", scripts)


@pytest.mark.parametrize("there", ["absent", "empty"])
def test_without_a_bundle_a_plain_page_says_how_to_build_it(tmp_path: Path, there: str) -> None:
    if there == "empty":
        (tmp_path / "dist").mkdir()
    answer = get("/graphql", tmp_path / "dist")
    page = Markup(answer.text)
    assert answer.status_code == 200
    assert "python3 web/build.py" in answer.text
    assert "<script" not in answer.text
    assert page.addresses == page.inline == []
    assert answer.headers["cache-control"] == "no-store"
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert get("/graphql/assets/index-a1b2.js", tmp_path / "dist").status_code == 404


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("index-a1b2.js", "text/javascript; charset=utf-8"),
        ("graphql.worker-c3.js", "text/javascript; charset=utf-8"),
        ("index-d4.css", "text/css; charset=utf-8"),
        ("font-e5.woff2", "font/woff2"),
    ],
)
def test_assets_are_kept_for_good_and_carry_the_policy(dist: Path, name: str, media_type: str) -> None:
    answer = get(f"/graphql/assets/{name}", dist)
    assert answer.status_code == 200
    assert answer.content == (dist / "assets" / name).read_bytes()
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-security-policy"] == POLICY.replace(" 'nonce-{nonce}'", "")
    assert {header: answer.headers[header] for header in FIXED} == FIXED


def test_asset_goes_out_packed_only_to_those_who_ask(dist: Path) -> None:
    packed = get("/graphql/assets/index-a1b2.js", dist, **{"Accept-Encoding": "br, gzip"})
    plain = get("/graphql/assets/index-a1b2.js", dist)
    refused = get("/graphql/assets/index-a1b2.js", dist, **{"Accept-Encoding": "gzip;q=0, identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in refused.headers
    assert packed.text == plain.text == refused.text == SCRIPT
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path",
    [
        "../secret.js",
        "..%2fsecret.js",
        "..%2F..%2Foutside.js",
        "%2e%2e/secret.js",
        "%2e%2e%2fsecret.js",
        "..%5csecret.js",
        "%252e%252e%252fsecret.js",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "assets/../../secret.js",
        "index-a1b2.js%00.css",
        "index-a1b2.js%0a",
        "notes.txt",
        "index-a1b2.js.gz",
        ".js",
        "",
        "absent.js",
        "a" * 5000 + ".js",
    ],
)
def test_nothing_but_the_bundle_is_served(dist: Path, path: str) -> None:
    answer = get(f"/graphql/assets/{path}", dist)
    assert answer.status_code == 404
    assert "outside" not in answer.text


def test_a_link_that_leads_out_of_the_bundle_is_not_followed(dist: Path) -> None:
    (dist / "assets" / "link.js").symlink_to(dist.parent / "outside.js")
    assert get("/graphql/assets/link.js", dist).status_code == 404


@pytest.mark.parametrize("folder", ["web", "tests/web"])
def test_locks_pin_contents_and_name_no_address(folder: str) -> None:
    lock = (ROOT / folder / "package-lock.json").read_text(encoding="utf-8")
    assert '"integrity": "sha512-' in lock
    assert "://" not in lock
    assert '"resolved"' not in lock
