"""Names that callers give: of sites, apps, members, sessions and models."""

from __future__ import annotations

from db.sql.column_forms import ColumnForm
from db.sql.scope import Scope
from resolvers.errors import InvalidInput, NotFound

MAX_NAME = 200
"""Characters of a name. They stand in indexes, whose rows PostgreSQL holds to 2,704 bytes."""


def check_length(value: str | None, field: str, where: str = "") -> None:
    """Raise InvalidInput for a name that is too long to be stored; `where` leads the message."""
    if value is not None and len(value) > MAX_NAME:
        raise InvalidInput(
            f"{where}{field} has {len(value):,} characters; a name has at most {MAX_NAME}.", field
        )


def check_storable(value: str | None, field: str, where: str = "") -> None:
    """Raise InvalidInput for a text that PostgreSQL cannot store: a NUL, or half of a surrogate pair."""
    if value is not None and ("\0" in value or not _is_unicode(value)):
        raise InvalidInput(f"{where}{field} holds a character that cannot be stored.", field)


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(value: str, field: str, where: str = "") -> None:
    """Raise InvalidInput for a name that is empty, too long, or has white space around it."""
    if not value.strip():
        raise InvalidInput(f"{where}{field} must not be empty.", field)
    check_trimmed(value, field, where)
    check_length(value, field, where)


def check_printable(value: str, field: str, where: str = "") -> None:
    """Raise InvalidInput for a name as `check_name` does, and for one that cannot be printed."""
    check_name(value, field, where)
    if not value.isprintable():
        raise InvalidInput(f"{where}{field} must hold printable characters only.", field)


def check_trimmed(value: str | None, field: str, where: str = "") -> None:
    """Raise InvalidInput for a name with white space around it: it would look like another name."""
    if value is not None and value != value.strip():
        raise InvalidInput(f"{where}{field} must not begin or end with white space.", field)


def canonical(value: str, form: ColumnForm, field: str, where: str = "") -> str:
    """The value as its column prints it. Raises InvalidInput where the column cannot hold it."""
    found = form.canonical(value)
    if found is None:
        shown = value if len(value) <= 40 else value[:40] + "…"
        raise InvalidInput(
            f"{where}{field} {shown!r} cannot be stored here: it must be {form.description}.", field
        )
    return found


def own_site(scope: Scope, site_id: str, field: str = "siteId", where: str = "") -> str:
    """The canonical id of a site that a change is about.

    Raises InvalidInput for what can be no site's id, NotFound where the site is not within the scope.
    """
    check_name(site_id, field, where)
    site = canonical(site_id, scope.forms.site, field, where)
    if not scope.includes(site):
        raise NotFound("There is no such site.")
    return site
