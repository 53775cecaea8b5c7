"""GraphiQL for a browser at the API's own address, from files of this machine only.

`web/build.py` bundles the page into `web/dist/`. The HTTP endpoint answers a browser's GET with
`explorer_page`; `explorer_routes` serves the bundle's files under `/graphql/assets/`. Without a bundle the
page says how to make one.
"""

import re
import secrets
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from graph.http.compression import takes_gzip

DIST = Path(__file__).resolve().parents[2] / "web" / "dist"
ASSETS_PATH = "/graphql/assets"
BUILT_ASSETS = "./assets/"
"""What the bundle's page calls that path; all others are relative to the file that names them."""

NONCE_PLACEHOLDER = "{{style-nonce}}"
ASSET_NAME = re.compile(r"(?=.{1,120}\Z)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.(js|css|svg|ttf|woff|woff2)")
MEDIA_TYPES = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "ttf": "font/ttf",
    "woff": "font/woff",
    "woff2": "font/woff2",
}

FIXED_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

# Style attributes stay allowed: the editor lays out its lines as markup with them (see the decision record).
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{nonce}; style-src-attr 'unsafe-inline'; "
    "worker-src 'self'; font-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

NOT_BUILT = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Runglass</title></head>
<body>
<h1>The explorer is not built</h1>
<p>The API works: send POST requests to this address. To get GraphiQL here, run</p>
<pre>python3 web/build.py</pre>
<p>in the project's folder and load this page again. It needs Node.js 20.19 or newer and once the network.</p>
</body>
</html>
"""


def explorer_page(request: Request, dist: Path = DIST) -> Response:
    """The GraphiQL page, or when `dist` holds none a plain one that says how to build it; status 200."""
    nonce = secrets.token_urlsafe(16)
    try:
        page = (dist / "index.html").read_text(encoding="utf-8").replace(NONCE_PLACEHOLDER, nonce)
        page = page.replace(BUILT_ASSETS, request.scope.get("root_path", "") + ASSETS_PATH + "/")
    except OSError:
        page = NOT_BUILT
    headers = _security_headers(f" 'nonce-{nonce}'") | {"Cache-Control": "no-store", "Vary": "Accept"}
    return HTMLResponse(page, headers=headers)


def explorer_routes(dist: Path = DIST) -> list[BaseRoute]:
    """The route of the bundle's files. Each name carries a hash of the content: cached for good."""
    assets = dist / "assets"

    async def asset(request: Request) -> Response:
        return _asset(assets, request)

    return [Route(ASSETS_PATH + "/{name}", asset, methods=["GET"])]


def _asset(assets: Path, request: Request) -> Response:
    name: str = request.path_params["name"]
    match = ASSET_NAME.fullmatch(name)
    if match is None or not _is_own_file(assets, name):
        return PlainTextResponse("Not found.", 404, _security_headers() | {"Cache-Control": "no-store"})
    headers = _security_headers() | {
        "Cache-Control": "public, max-age=31536000, immutable",
        "Vary": "Accept-Encoding",
    }
    packed = f"{name}.gz"
    if takes_gzip(request.headers.get("accept-encoding", "").encode()) and _is_own_file(assets, packed):
        name, headers = packed, headers | {"Content-Encoding": "gzip"}
    return FileResponse(assets / name, headers=headers, media_type=MEDIA_TYPES[match[1]])


def _is_own_file(assets: Path, name: str) -> bool:
    """Whether `name` is a file in the folder itself: a link that leads out of it is none."""
    path = (assets / name).resolve()
    return path.is_file() and path.parent == assets.resolve()


def _security_headers(style_nonce: str = "") -> dict[str, str]:
    return FIXED_HEADERS | {"Content-Security-Policy": CONTENT_POLICY.format(nonce=style_nonce)}
