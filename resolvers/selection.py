"""Many objects at once: which ones are meant, and what became of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

from db.postgres.pool import Connection
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope
from resolvers.access.callers import Caller, audit
from resolvers.errors import InvalidInput, Refusal

MAX_ITEMS = 1000
DEFAULT_ITEMS = 100
SAMPLE = 10
MAX_REASON = 500
_FAR = 2**31

FilterType = TypeVar("FilterType")


class Changed(Protocol):
    """A row that was changed."""

    @property
    def id(self) -> int: ...
    @property
    def site_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class BulkRequest(ABC, Generic[FilterType]):
    """What is asked of many: of those with these ids, or of those of the filter, `limit` at most.

    `site_id` is a part of the filter. A dry run changes nothing.
    """

    noun: ClassVar[str]

    ids: tuple[int, ...] | None
    filters: FilterType | None
    site_id: str | None = None
    limit: int = DEFAULT_ITEMS
    is_dry_run: bool = False
    reason: str = ""

    @abstractmethod
    def conditions(self, filters: FilterType) -> dict[str, Any]:
        """What the filter asks for, in the names of the API, for the audit log; None where it does not."""

    def checked(self) -> Self:
        """Without duplicate ids and outer blanks. Raises InvalidInput where it cannot be carried out."""
        name = f"{self.noun}Ids"
        if (self.ids is None) == (self.filters is None):
            raise InvalidInput(f"Give either {name} or filter.", name)
        if self.ids == ():
            raise InvalidInput(f"{name} must name at least one.", name)
        if not 1 <= self.limit <= MAX_ITEMS:
            raise InvalidInput(f"limit must be 1 to {MAX_ITEMS:,}.", "limit")
        reason = self.reason.strip()
        if not 1 <= len(reason) <= MAX_REASON or "\0" in reason:
            raise InvalidInput(f"reason must hold 1 to {MAX_REASON} characters.", "reason")
        ids = None if self.ids is None else tuple(dict.fromkeys(self.ids))
        return replace(self, ids=ids, reason=reason)

    def described(self) -> dict[str, Any]:
        """The reason, and the filter where there is one, for the audit log."""
        if self.filters is None:
            return {"reason": self.reason}
        conditions = {"siteId": self.site_id, **self.conditions(self.filters)}
        present = {name: value for name, value in conditions.items() if value is not None}
        return {"reason": self.reason, "filter": present}


class Chosen(NamedTuple):
    """The ids that are meant, in the order asked or else oldest first, and how many there are in all.

    Where these are more than the limit, which only a dry run may ask for, `ids` are but a sample.
    """

    ids: list[int]
    matched: int

    @property
    def is_whole(self) -> bool:
        """Whether none is left out."""
        return len(self.ids) == self.matched


async def choose(
    connection: Connection,
    scope: Scope,
    request: BulkRequest[Any],
    list_page: Callable[..., Awaitable[Page[Any]]],
    count: Callable[..., Awaitable[int]],
) -> Chosen:
    """Those that are meant. Raises InvalidInput where they are more than the limit, but for a dry run.

    `list_page` and `count` are the functions of the store that read the list which the filter is of.
    """
    if request.filters is None:
        ids = list(request.ids or ())
        matched = len(ids)
    else:
        scope = scope.narrow(request.site_id)
        oldest = PageRequest(limit=request.limit, newest_first=False)
        page = await list_page(connection, scope=scope, filters=request.filters, page=oldest)
        ids = [row.id for row in page.rows]
        matched = len(ids)
        if page.has_next:
            matched = await count(connection, scope=scope, filters=request.filters, limit=_FAR)
    if matched <= request.limit:
        return Chosen(ids, matched)
    if request.is_dry_run:
        return Chosen(ids[:SAMPLE], matched)
    raise InvalidInput(
        f"These are {matched:,} {request.noun}s, more than the limit of {request.limit:,}. Nothing was"
        f" changed; ask for fewer, or raise limit, which may be {MAX_ITEMS:,} at most.",
        "limit",
    )


class Outcome(NamedTuple):
    """What became of one: the id of what was made or changed, or the code and message of a refusal.

    In a dry run there is neither for what would be done.
    """

    id: int
    result_id: int | None = None
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of many. Of the `matched` ones `count` were changed, or would be.

    `outcomes` are in the order asked, or oldest first; none where a dry run is above the limit. `sample` are
    the ids of the first of them.
    """

    is_dry_run: bool
    matched: int
    count: int
    outcomes: list[Outcome]
    sample: list[int]

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """The same again from what `dataclasses.asdict` gave, after it has been JSON."""
        outcomes = [Outcome(*each) for each in value["outcomes"]]
        fields: dict[str, Any] = {**value, "outcomes": outcomes}
        return cls(**fields)


def refused_of(refusals: Mapping[int, Refusal | None]) -> dict[int, Refusal]:
    """Of what stands in the way of each, that which does."""
    return {each: refusal for each, refusal in refusals.items() if refusal}


def outcomes_of(
    chosen: Chosen, refused: Mapping[int, Refusal], done: Mapping[int, int | None]
) -> list[Outcome]:
    """What became of each that was chosen. `done` has the id of what came of those not refused."""
    return [
        Outcome(each, code=refusal.code, message=refusal.message)
        if (refusal := refused.get(each))
        else Outcome(each, done.get(each))
        for each in chosen.ids
    ]


async def audit_changed(
    transaction: Connection,
    caller: Caller,
    action: str,
    request: BulkRequest[Any],
    changed: Sequence[Changed],
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write down what was changed, for each site apart, so that its admins see their entry and no other's."""
    by_site: dict[str, list[int]] = {}
    for row in changed:
        by_site.setdefault(row.site_id, []).append(row.id)
    for site_id, ids in by_site.items():
        after = {**request.described(), "count": len(ids), f"{request.noun}s": ids, **(more or {})}
        await audit(transaction, caller, action, ("site", site_id), site_id=site_id, after=after)
