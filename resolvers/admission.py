"""Which waiting jobs come next: sites take turns, and no site and no app has more at once than it may.

A site's own jobs go by rank (what an operator asked for before batches), then by age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from db.queue import WaitingRow


def choose_next(
    waiting: Sequence[WaitingRow],
    *,
    site_limit: int,
    app_limits: Mapping[str, int],
    app_counts: Mapping[str, int],
) -> list[int]:
    """The ids of the jobs to admit now, the first one first.

    Each place goes to the site with the fewest admitted jobs, and among these to the one that has waited
    longest. `app_counts` are the jobs already admitted per app; an app that `app_limits` lacks has no limit.
    """
    queues = _by_site(waiting)
    used = dict(app_counts)
    admitted = {site: rows[0].site_admitted for site, rows in queues.items()}
    turns = {site: rows[0].site_turn for site, rows in queues.items()}
    chosen: list[int] = []
    while queues:
        site = min(queues, key=lambda name: (admitted[name], turns[name], name))
        row = _take_first(queues[site], app_limits, used)
        if row is None or admitted[site] >= site_limit:
            del queues[site]
            continue
        chosen.append(row.job_id)
        admitted[site] += 1
        for app in set(row.app_types):
            used[app] = used.get(app, 0) + 1
        if not queues[site]:
            del queues[site]
    return chosen


def _by_site(waiting: Sequence[WaitingRow]) -> dict[str, list[WaitingRow]]:
    queues: dict[str, list[WaitingRow]] = {}
    for row in sorted(waiting, key=lambda row: (row.rank, row.job_id)):
        queues.setdefault(row.site_id, []).append(row)
    return queues


def _take_first(
    rows: list[WaitingRow], limits: Mapping[str, int], used: Mapping[str, int]
) -> WaitingRow | None:
    for index, row in enumerate(rows):
        if all(used.get(app, 0) < limits[app] for app in row.app_types if app in limits):
            return rows.pop(index)
    return None
