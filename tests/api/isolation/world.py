"""Two sites whose rows point at each other, as nothing but a fault or an attack would make them.

Every text of a site's rows holds its mark, and its ids say whose they are: berlin's numbers lie below 1,000,
tokyo's between 1,000 and 2,000, and what is made later gets more than 5,000. What belongs to no site is in
each world, with ids from 3,000.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.support.store import Store

NOW = datetime.now(UTC).replace(microsecond=0)
# Of each site one batch that waits to be confirmed, one that runs, and one that has ended with a failed job.
STARTED = {"berlin": UUID(int=0xB3), "tokyo": UUID(int=0x72)}
ENDED = {"berlin": UUID(int=0xB2), "tokyo": UUID(int=0x71)}
BATCHES = {"berlin": UUID(int=0xB1), "tokyo": UUID(int=0x70)}
OTHER = {"berlin": "tokyo", "tokyo": "berlin"}
BASE = {"berlin": 0, "tokyo": 1000}


def mark(site: str) -> str:
    """The text that all rows of a site hold."""
    return f"{site}-secret"


def at(minutes: int) -> datetime:
    """A time a little ago, the same in each world."""
    return NOW - timedelta(minutes=minutes)


def build_world(store: Store, *sites: str) -> None:
    """Add the rows of these sites, keys included; ids are the same whichever sites there are."""
    for site in sites:
        _jobs(store, site)
        _runs(store, site)
        _cache(store, site)
        _batch(store, site)
        _audit(store, site)
        _budget(store, site)
        _key(store, site, BASE[site] + 500, [site])
    if len(sites) > 1:
        _key(store, "both", 1501, list(sites))
    _of_no_site(store)
    store.rows("SELECT setval('runglass.run_log_id', 5000)")
    for table in (
        "biz.ai_trigger_jobs",
        "biz.ai_cache",
        "runglass.audit_log",
        "runglass.api_keys",
        "runglass.budgets",
        "runglass.budget_events",
        "runglass.model_prices",
    ):
        store.rows(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 5000)")


def _runs(store: Store, site: str) -> None:
    base, other = BASE[site], BASE[OTHER[site]]
    texts = {
        "site_id": site,
        "request_prompt": f"prompt {mark(site)}",
        "response_text": f"response {mark(site)}",
        "error_message": f"error {mark(site)}",
        "trigger_type": mark(site),
        "session_id": mark(site),
        "model": mark(site),
        "alert_changed_by": mark(site),
        "member_id": "m1",
    }
    rows: list[dict[str, Any]] = [
        {"status": "success", "trigger_job_id": base + 1, "external_id": "e1", "latency_ms": 100},
        # A run of this site that names a job of the other.
        {"status": "failed", "trigger_job_id": other + 1},
        {"status": "timeout", "alert_status": "acknowledged", "alert_changed_at": at(1)},
        {"status": "circuit_open", "alert_status": "ignored"},
        {"status": "running", "trigger_job_id": base + 2},
        {"status": "success", "app_type": mark(site), "external_id": f"only {site}", "latency_ms": 70_000},
    ]
    for number, row in enumerate(rows, start=1):
        tokens = {"tokens_used": base + 10, "prompt_tokens": base + 7, "completion_tokens": 3}
        run = {"id": base + number, "created_at": at(number), **tokens, **texts, **row}
        store.run(**run)
        if external_id := row.get("external_id"):
            store.rows(
                "INSERT INTO runglass.run_external_ids VALUES (%s, %s, %s, %s)",
                (site, external_id, run["id"], run["created_at"]),
            )


def _jobs(store: Store, site: str) -> None:
    base, other = BASE[site], BASE[OTHER[site]]
    texts = {
        "site_id": site,
        "event_type": mark(site),
        "connector_type": mark(site),
        "payload": Jsonb({"secret": mark(site)}),
        "error_message": mark(site),
        "app_chain": [mark(site)],
        "member_id": "m1",
    }
    rows: list[dict[str, Any]] = [
        {"status": "failed"},
        # A retry of the other site's job, which must neither block nor number that job's own retries.
        {"status": "pending", "retry_of_id": other + 1, "attempt": 40},
        # A job that names the other site's batch.
        {"status": "success", "batch_id": BATCHES[OTHER[site]]},
        {"status": "skipped_duplicate", "batch_id": BATCHES[site], "is_forced": True},
        {"status": "cancelled", "retry_of_id": base + 1, "attempt": 2},
        {"status": "failed", "batch_id": ENDED[site]},
        {"status": "pending"},
    ]
    for number, row in enumerate(rows, start=1):
        store.job(id=base + number, created_at=at(number), **(texts | row))


def _cache(store: Store, site: str) -> None:
    for number, status in enumerate(("valid", "invalidated", "valid"), start=1):
        store.cache(
            id=BASE[site] + number,
            site_id=site,
            cache_type="chat" if number < 3 else mark(site),
            result=Jsonb({"secret": mark(site)}),
            status=status,
            created_at=at(number),
        )


def _batch(store: Store, site: str) -> None:
    estimate = {"app_type": mark(site), "calls": 1, "mean_tokens": 2000.0, "sample_size": 0}
    values = {
        "site_id": site,
        "app_types": [mark(site)],
        "member_ids": ["m1"],
        "estimated_calls": 1,
        "estimated_tokens": 2000,
        "app_estimates": Jsonb([estimate]),
        "created_by": mark(site),
        "expires_at": NOW + timedelta(hours=1),
    }
    store.add("runglass.batches", id=BATCHES[site], created_at=at(1), **values)
    started = {"status": "running", "confirmed_at": at(2), "is_queued": True}
    store.add("runglass.batches", id=STARTED[site], created_at=at(2), **values, **started)
    ended = {"status": "completed_with_failures", "confirmed_at": at(2), "finished_at": at(1)}
    counts = {"jobs_succeeded": 0, "jobs_failed": 1, "is_queued": True, "cancelled_by": mark(site)}
    store.add("runglass.batches", id=ENDED[site], created_at=at(3), **values, **ended, **counts)


def _audit(store: Store, site: str) -> None:
    for number, kind in enumerate(("job", "alert"), start=1):
        store.rows(
            "INSERT INTO runglass.audit_log (id, created_at, actor, actor_id, address, action, site_id,"
            " target_kind, target_id, before, after)"
            " OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, %s, '192.0.2.1', 'retryJob', %s, %s, %s, %s, %s)",
            (
                BASE[site] + number,
                at(number),
                mark(site),
                mark(site),
                site,
                kind,
                str(BASE[site] + 1),
                Jsonb({"secret": mark(site)}),
                Jsonb({"secret": mark(site)}),
            ),
        )


# So far above what is used that none is reached within its period: the server would write an event of that at
# any time, and foretell when by the clock.
LIMIT = 100_000_000


def _budget(store: Store, site: str) -> None:
    subject = {"site_id": site, "app_type": mark(site), "period": "daily"}
    store.add(
        "runglass.budgets",
        id=BASE[site] + 1,
        soft_limit=LIMIT + BASE[site],
        time_zone="UTC",
        created_by=mark(site),
        created_at=at(1),
        updated_by=mark(site),
        updated_at=at(1),
        **subject,
    )
    store.rows(
        "INSERT INTO runglass.budget_events (id, budget_id, period_start, threshold, site_id, app_type,"
        " period, used_tokens, limit_tokens, created_at) OVERRIDING SYSTEM VALUE"
        " VALUES (%s, %s, %s, 80, %s, %s, 'daily', 80, 100, %s)",
        (BASE[site] + 1, BASE[site] + 1, at(3), site, mark(site), at(1)),
    )


def _of_no_site(store: Store) -> None:
    """The same in each world: a budget of every site, one of its events, and what each site's model costs."""
    made = {"created_by": "every", "created_at": at(1), "updated_by": "every", "updated_at": at(1)}
    budget = {"period": "daily", "soft_limit": LIMIT, "hard_limit": 2 * LIMIT, "time_zone": "UTC"}
    store.add("runglass.budgets", id=3001, **budget, **made)
    store.rows(
        "INSERT INTO runglass.budget_events (id, budget_id, period_start, threshold, period, used_tokens,"
        " limit_tokens, created_at) OVERRIDING SYSTEM VALUE"
        " VALUES (3001, 3001, %s, 80, 'daily', 80, 100, %s)",
        (at(3), at(1)),
    )
    for number, site in enumerate(BASE, start=3001):
        prices = {"prompt_price": Decimal(number), "completion_price": Decimal(1)}
        store.add("runglass.model_prices", id=number, model=mark(site), valid_from=at(90), **prices, **made)


def _key(store: Store, name: str, key_id: int, sites: list[str]) -> None:
    store.add(
        "runglass.api_keys",
        id=key_id,
        name=mark(name),
        key_hash=key_id.to_bytes(32, "big"),
        key_prefix="rg_" + name[:5],
        role="viewer",
        sites=sites,
        created_by=mark(name),
        created_at=at(1),
    )


def rows_of(store: Store, site: str) -> dict[str, list[dict[str, Any]]]:
    """Everything that belongs to a site, but for the roll-ups, which the server folds at any time."""
    tables = store.rows(
        "SELECT n.nspname || '.' || c.relname AS name, a.attname AS site FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('site_id', 'sites')"
        " WHERE n.nspname IN ('biz', 'runglass') AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND c.relname NOT IN ('run_log_deltas', 'run_usage', 'run_latency', 'run_totals',"
        " 'model_usage')"
    )
    return {
        table["name"]: sorted(
            store.rows(
                f"SELECT * FROM {table['name']} WHERE %s = ANY("
                + ("sites)" if table["site"] == "sites" else "ARRAY[site_id::text])"),
                (site,),
            ),
            key=str,
        )
        for table in tables
    }
