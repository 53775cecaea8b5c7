"""What a server says when it starts: where it is, and how to sign in."""

from __future__ import annotations

import ipaddress

from db.postgres.checks import takes_changes
from db.postgres.pool import Database
from db.sql.scope import EVERY_SITE
from graph.auth.sign_in import SIGN_IN_PATH
from graph.settings.config import Settings
from resolvers.access.api_keys import KeyRequest, create_api_key, has_keys
from resolvers.access.callers import Caller, Role
from resolvers.access.sessions import issue_sign_in_token

# Who reads the terminal that the server was started from may do anything to it anyway.
LOCAL = Caller("local", EVERY_SITE, Role.ADMIN, reads_texts=True)


async def start_message(database: Database, settings: Settings, host: str, port: int, *, demo: bool) -> str:
    """The lines to print.

    On a loopback address they hold a link that signs a browser in as an admin, once. With `demo` they hold an
    admin's key as long as no key was ever made, which is then shown this once.
    """
    shown = f"[{host}]" if ":" in host else host
    home = f"http://{shown}:{port}"
    lines = [f"Runglass is at {home}/graphql (Ctrl-C stops it)"]
    async with database.connection() as connection:
        writable = await takes_changes(connection)
    if not writable:
        lines.append("The database takes no changes (a standby, or read-only): mutations are refused")
        return "\n".join(lines) + "\n"
    if ipaddress.ip_address(host).is_loopback:
        token = await issue_sign_in_token(database, LOCAL, settings.sign_in_lifetime)
        minutes = max(1, settings.sign_in_lifetime // 60)
        link = f"{home}{SIGN_IN_PATH}?token={token}"
        lines.append(f"Open this to sign in (once, within {minutes} minutes): {link}")
    if demo and not await has_keys(database):
        request = KeyRequest("demo", Role.ADMIN, None, reads_texts=True)
        _, secret = await create_api_key(database, LOCAL, request)
        lines.append(f"A key for scripts, shown this once (send it as 'Authorization: Bearer KEY'): {secret}")
    else:
        lines.append("A key for scripts: runglass key create --name NAME --role viewer --all-sites")
    return "\n".join(lines) + "\n"
