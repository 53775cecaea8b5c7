"""`runglass key`: create, list and revoke API keys, for whoever holds the database itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from db.access.api_keys import ApiKeyRow
from db.postgres.pool import Database
from db.sql.scope import EVERY_SITE
from graph.cli.stores import CommandError, DataDir, run_on_database, store
from graph.errors import ApiError
from graph.processes.migrating import migrate_store
from graph.settings.config import load_settings
from graph.types.ids import Kind, parse_id, print_id
from resolvers.access import api_keys as cases
from resolvers.access.callers import Caller, Role, in_database
from resolvers.errors import InvalidInput, Refusal

keys = typer.Typer(help="The keys that scripts sign in with.", no_args_is_help=True)

# Whoever can run this holds the database anyway.
OPERATOR_OF_THE_MACHINE = Caller("cli", EVERY_SITE, Role.ADMIN, reads_texts=True)


@keys.command("create")
def create(
    name: Annotated[str, typer.Option(help="Its name in the audit log.")],
    role: Annotated[Role, typer.Option(help="What it may do.")],
    site: Annotated[list[str] | None, typer.Option(help="A site it may see; give one or more.")] = None,
    all_sites: Annotated[bool, typer.Option("--all-sites", help="It may see every site.")] = False,
    texts: Annotated[bool, typer.Option("--texts", help="It may read prompts and responses.")] = False,
    expires: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until it expires; without it, never.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, alone, on standard output. It is shown this once."""
    if bool(site) is all_sites:
        raise typer.BadParameter("give --site, once or more, or --all-sites")
    request = cases.KeyRequest(
        name=name,
        role=role,
        sites=site or None,
        reads_texts=texts,
        expires_at=None if expires is None else datetime.now(UTC) + timedelta(days=expires),
    )
    try:
        key, secret = _run(data_dir, _create_key, request)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"{print_id(Kind.KEY, key.id)}: store it now, it is not shown again", err=True)
    typer.echo(secret)


@keys.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """List the keys: id, first characters, role, sites, texts, status, last use, name."""
    for key in _run(data_dir, cases.list_every_api_key):
        typer.echo("\t".join(_columns(key)))


@keys.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, such as key_3.")],
    data_dir: DataDir = None,
) -> None:
    """Make a key worthless, at once and for good."""
    try:
        number = parse_id(key_id, Kind.KEY, "ID")
    except ApiError as error:
        raise typer.BadParameter(error.message) from None
    try:
        _run(data_dir, cases.revoke_api_key, OPERATOR_OF_THE_MACHINE, number)
    except Refusal as error:
        raise CommandError(str(error)) from None
    typer.echo(f"revoked {key_id}")


async def _create_key(database: Database, request: cases.KeyRequest) -> tuple[ApiKeyRow, str]:
    return await cases.create_api_key(database, await in_database(database, OPERATOR_OF_THE_MACHINE), request)


def _columns(key: ApiKeyRow) -> list[str]:
    status = "revoked" if key.revoked_at else "expired" if key.is_expired else "active"
    used = key.last_used_at.isoformat(timespec="minutes") if key.last_used_at else "never used"
    return [
        print_id(Kind.KEY, key.id),
        key.key_prefix + "…",
        key.role,
        "all sites" if key.sites is None else ",".join(key.sites),
        "texts" if key.reads_texts else "no texts",
        status,
        used,
        key.name,
    ]


def _run(data_dir: Path | None, use_case: Callable[..., Any], *values: Any) -> Any:
    with store(load_settings(data_dir=data_dir)) as settings:
        migrate_store(settings)
        return run_on_database(settings, use_case, *values)
