"""The sites a caller may see, and the statements that cannot run without them.

A statement over a site-owned table is a `SiteStatement`: its text holds `{scope}` where the condition on the
site belongs, and the only way to its SQL is to hand it a `Scope`. A test fails on a statement of `db/` that
names a site-owned table and is not one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeVar

from db.sql.column_forms import ANY_TEXT, ColumnForms, Table
from db.sql.conditions import equal

FilterType = TypeVar("FilterType")


@dataclass(frozen=True, slots=True)
class Scope:
    """The sites a caller may see: a set of site ids, or None for every site.

    `forms` says how this database spells ids: the ids of `sites` are canonical, and whatever is compared with
    them is made so first.
    """

    sites: frozenset[str] | None
    forms: ColumnForms = field(default=ANY_TEXT, compare=False, repr=False)

    @classmethod
    def of(cls, *sites: str) -> Scope:
        """The scope of exactly these sites."""
        return cls(frozenset(sites))

    def spelled(self, forms: ColumnForms) -> Scope:
        """The same scope in a database that spells ids in these forms, without ids that it cannot hold."""
        if self.sites is None:
            return Scope(None, forms)
        return Scope(frozenset(_canonical(forms, self.sites)), forms)

    def canonical_site(self, site_id: str) -> str | None:
        """The site's id as this database prints it; None where it cannot hold such an id."""
        return self.forms.site.canonical(site_id)

    def narrow(self, site_id: str | None) -> Scope:
        """The part of this scope that lies in one site; empty where the site is not in it.

        None asks for nothing narrower.
        """
        if site_id is None:
            return self
        site = self.canonical_site(site_id)
        sites = frozenset[str]() if site is None or not self.includes(site) else frozenset((site,))
        return Scope(sites, self.forms)

    def matching(self, table: Table, given: FilterType) -> tuple[Scope, FilterType]:
        """The scope and the filter of a read, the filter in canonical form.

        Where a column cannot hold what the filter asks for, no row matches: then the scope is empty.
        """
        canonical, fits = self.forms.canonical_filter(table, given)
        return (self if fits else Scope(frozenset(), self.forms)), canonical

    def includes(self, site_id: str) -> bool:
        """Whether rows of the site may be seen."""
        return self.sites is None or self.canonical_site(site_id) in self.sites

    def covers(self, other: Scope) -> bool:
        """Whether every site of the other scope may be seen."""
        return self.sites is None or (other.sites is not None and other.sites <= self.sites)

    def parameters(self) -> dict[str, Any]:
        """The values that a statement's scope condition refers to."""
        if self.sites is None:
            return {}
        if len(self.sites) == 1:
            site = next(iter(self.sites))
            return {"scope_site": site, "own_scope_site": site}
        sites = array_literal(self.sites)
        return {"scope_sites": sites, "own_scope_sites": sites}


EVERY_SITE = Scope(None)


def _canonical(forms: ColumnForms, sites: Iterable[str]) -> Iterable[str]:
    return (site for site in map(forms.site.canonical, sites) if site is not None)


def array_literal(values: frozenset[str] | list[str]) -> str:
    """An array in PostgreSQL's text form, so that the server takes the element type from the column."""
    quoted = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in sorted(values))
    return "{" + ",".join(quoted) + "}"


class SiteStatement:
    """A statement over a site-owned table, which is SQL only together with a scope.

    `column` is the site column as the statement names it. One site is named by `equal`, because an index on
    (site_id, created_at, id) then gives its rows in order.

    A statement that also reads a roll-up has `{own_scope}` there. The value goes in twice, because the server
    gives a parameter one type, and an adopted table's site column may be of another than ours.
    """

    __slots__ = ("_column", "_sql", "_texts")

    def __init__(self, sql: LiteralString, *, column: LiteralString = "site_id") -> None:
        if "{scope}" not in sql and "{own_scope}" not in sql:
            raise ValueError("a statement over a site-owned table needs {scope}")
        self._sql: LiteralString = sql
        self._column: LiteralString = column
        self._texts: dict[int, LiteralString] = {}

    def sql(self, scope: Scope) -> LiteralString:
        """The statement's text for a scope; its values come from `Scope.parameters`."""
        sites = scope.sites
        # Every site, no or several sites, one site.
        kind = 0 if sites is None else 2 if len(sites) == 1 else 1
        text = self._texts.get(kind)
        if text is None:
            text = self._texts[kind] = self._text(scope)
        return text

    def _text(self, scope: Scope) -> LiteralString:
        if scope.sites is None:
            return self._sql.replace("{scope}", "TRUE").replace("{own_scope}", "TRUE")
        one = len(scope.sites) == 1
        condition = equal(self._column, "scope_site") if one else f"{self._column} = ANY(%(scope_sites)s)"
        own: LiteralString = "site_id = %(own_scope_site)s" if one else "site_id = ANY(%(own_scope_sites)s)"
        return self._sql.replace("{scope}", condition).replace("{own_scope}", own)
