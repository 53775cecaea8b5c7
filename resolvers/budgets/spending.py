"""Spending: whether the budgets allow what an operator is about to start.

A start that is admitted reserves its tokens in the same transaction, and the budgets with a hard limit stay
locked until that ends: of many starts at once each sees what those before it have reserved.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from db.access.rate_limits import take_slice
from db.budgets import budgets as store
from db.budgets.budgets import BudgetRow
from db.postgres.pool import Connection, Database
from db.sql.scope import Scope
from resolvers.access.callers import Caller
from resolvers.access.rate_limits import RateLimited
from resolvers.budgets.status import BudgetSpec, BudgetStatus, Meter, State, spec_of, worst
from resolvers.errors import Refusal
from resolvers.usage.token_budget import Limits


class BudgetExceeded(Refusal):
    """This would pass a hard limit of a budget."""

    code = "BUDGET_EXCEEDED"

    def __init__(self, status: BudgetStatus) -> None:
        super().__init__(_refusal(status))
        self.status = status


@dataclass(frozen=True, slots=True)
class Spending:
    """Tokens that calls at some sites are expected to use: (site, app, tokens)."""

    sites: tuple[str, ...]
    tokens: tuple[tuple[str, str, int], ...]

    @classmethod
    def of(cls, site_id: str, tokens_by_app: Mapping[str, float]) -> Spending:
        """Rounded to whole tokens."""
        tokens = tuple((site_id, app, round(tokens)) for app, tokens in tokens_by_app.items())
        return cls((site_id,), tokens)

    @classmethod
    def together(cls, spendings: Sequence[Spending]) -> Spending:
        """Several as one, which is admitted whole or not at all."""
        return cls(
            tuple(dict.fromkeys(site for each in spendings for site in each.sites)),
            tuple(part for each in spendings for part in each.tokens),
        )

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Spending:
        """The same from what `dataclasses.asdict` gave, after it has been JSON."""
        return cls(tuple(value["sites"]), tuple((site, app, tokens) for site, app, tokens in value["tokens"]))

    def started(self) -> Spending:
        """The same once it is reserved: nothing more is asked for."""
        return Spending(self.sites, tuple((site, app, 0) for site, app, _ in self.tokens))

    @property
    def app_types(self) -> list[str]:
        """The apps that are called."""
        return list(dict.fromkeys(app for _, app, _ in self.tokens))

    def on(self, spec: BudgetSpec) -> int | None:
        """The part of it that a budget counts; None where it counts nothing of it."""
        if spec.site_id is not None and spec.site_id not in self.sites:
            return None
        counted = [
            tokens
            for site, app, tokens in self.tokens
            if spec.site_id in (None, site) and spec.app_type in (None, app)
        ]
        return None if spec.app_type is not None and not counted else sum(counted)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the budgets say to a spending: the worst of their states, and each of them."""

    state: State
    statuses: list[BudgetStatus]


async def check_budgets(
    transaction: Connection, caller: Caller, spending: Spending, *, override: str | None = None
) -> dict[str, Any]:
    """Let a spending pass the hard limits; gives what the audit entry should say of it.

    The caller of this reserves the spending's tokens in the same transaction. Raises BudgetExceeded, unless
    `override` gives the reason why an admin starts it all the same.
    """
    rows = await store.lock_hard_budgets(
        transaction, scope=Scope.of(*spending.sites), app_types=spending.app_types
    )
    meter = Meter(transaction, datetime.now(UTC))
    exceeded: list[BudgetStatus] = []
    for spec in map(spec_of, rows):
        # Of several sites and apps, a locked budget may count one with another that is not started there.
        if (requested := spending.on(spec)) is None:
            continue
        status = await meter.status(spec, requested)
        if status.state == "exceeded":
            exceeded.append(status)
    if override is not None:
        # Whoever reads the site's audit log need not see every site.
        told = [each.spec.budget_id for each in exceeded if each.visible_to(caller.scope).used is not None]
        return {"override": override, "exceededBudgets": told}
    if exceeded:
        raise BudgetExceeded(exceeded[0].visible_to(caller.scope))
    return {}


@asynccontextmanager
async def refusals_limited(
    database: Database, caller: Caller, *, amount: int, seconds: int
) -> AsyncGenerator[None, None]:
    """Count what budgets refuse here whose use the caller may not read; that tells something of it.

    `database` is not in the transaction of what is refused, which is undone. Raises RateLimited once so many
    were refused in the period, so that they cannot be used to search for the figure. Of several at once, each
    that began before the first was counted is still answered.
    """
    if caller.scope.sites is None:
        yield
        return
    name = f"refusals:{caller.identity}"
    async with database.connection() as connection:
        before = await take_slice(connection, caller=name, seconds=seconds, count=0)
    if before.taken >= amount:
        raise RateLimited(before.seconds_left, "Budgets have refused you as often as they may for now")
    try:
        yield
    except BudgetExceeded as refusal:
        if refusal.status.used is None:
            async with database.connection() as connection:
                await take_slice(connection, caller=name, seconds=seconds, count=1)
        raise


async def judge(
    database: Database,
    scope: Scope,
    zone: ZoneInfo,
    limits: Limits,
    spendings: Sequence[Spending],
) -> dict[Spending, Verdict]:
    """What the budgets say to each spending, without reserving anything.

    Where no budget of every site is stored, the settings' limits warn in its place and never refuse.
    """
    sites = Scope(frozenset(site for spending in spendings for site in spending.sites))
    async with database.connection() as connection:
        rows = await connection.read(store.budgets_of_sites(scope=sites))
        specs = [*map(spec_of, rows), *_defaults(rows, zone, limits)]
        meter = Meter(connection, datetime.now(UTC))
        verdicts: dict[Spending, Verdict] = {}
        for spending in spendings:
            requests = [(spec, spending.on(spec)) for spec in specs]
            statuses = [
                (await meter.status(spec, requested)).visible_to(scope)
                for spec, requested in requests
                if requested is not None
            ]
            verdicts[spending] = Verdict(worst(statuses), statuses)
    return verdicts


def _defaults(rows: Sequence[BudgetRow], zone: ZoneInfo, limits: Limits) -> list[BudgetSpec]:
    stored = {row.period for row in rows if row.site_id is None and row.app_type is None}
    settings = {"daily": limits.daily, "monthly": limits.monthly}
    return [
        BudgetSpec(None, None, None, period, tokens, None, zone.key)
        for period, tokens in settings.items()
        if period not in stored
    ]


def _refusal(status: BudgetStatus) -> str:
    spec = status.spec
    of = " of " + " and ".join(
        filter(None, (spec.site_id and f"site {spec.site_id}", spec.app_type and f"app {spec.app_type}"))
    )
    return (
        f"This needs {status.requested:,} tokens, which would pass the {spec.period} hard limit of"
        f" {status.limit:,} tokens{of if len(of) > 4 else ''}."
    )
