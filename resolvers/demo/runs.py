"""The demo's calls: a daily and a weekly rhythm, failures in bursts, and runs that are still in flight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from db.imports.demo import DemoRun
from resolvers.demo.words import APPS, ERRORS, MODELS, OPERATORS, SITES, THINGS, App

DAYS = 30
_CALLS_A_DAY = 2400
_MEMBERS = 900
_TIMEOUT_MS = 30_000
# Calls of each hour of the day (UTC), against the mean hour.
_HOURS = (
    0.25, 0.18, 0.14, 0.13, 0.16, 0.28, 0.55, 0.90, 1.25, 1.50, 1.62, 1.60,
    1.45, 1.48, 1.55, 1.52, 1.45, 1.40, 1.48, 1.55, 1.42, 1.10, 0.70, 0.40,
)  # fmt: skip
_WEEKDAYS = (1.12, 1.08, 1.05, 1.06, 1.15, 0.86, 0.68)
_APPS_BY_NAME = {app.name: app for app in APPS}
_SHARES = [app.share for app in APPS]


class Burst(NamedTuple):
    """A time in which many calls fail alike; site or app None means all of them."""

    start: datetime
    end: datetime
    site_id: str | None
    app_type: str | None
    status: str
    share: float


def make_bursts(random: Random, now: datetime) -> list[Burst]:
    """About one burst every other day, and one two hours ago, so that there is something to look at."""
    starts = [now - timedelta(hours=random.uniform(6, 24 * DAYS)) for _ in range(DAYS // 2)]
    return [
        Burst(
            start,
            start + timedelta(minutes=random.uniform(15, 75)),
            random.choice(SITES)[0] if random.random() < 0.6 else None,
            random.choice(APPS).name if random.random() < 0.7 else None,
            random.choice(("failed", "failed", "timeout", "circuit_open")),
            random.uniform(0.4, 0.9),
        )
        for start in [*starts, now - timedelta(hours=2)]
    ]


class RunMaker:
    """Makes runs; the same seed makes the same ones."""

    def __init__(self, random: Random, now: datetime) -> None:
        self.random = random
        self.now = now
        self._bursts = make_bursts(random, now)

    def calls(self) -> Iterator[DemoRun]:
        """The calls that people make, hour by hour."""
        start = (self.now - timedelta(days=DAYS)).replace(minute=0, second=0, microsecond=0)
        for hour in range(DAYS * 24 + 1):
            begin = start + timedelta(hours=hour)
            length = min(3600.0, (self.now - begin).total_seconds())
            expected = _CALLS_A_DAY / 24 * _HOURS[begin.hour] * _WEEKDAYS[begin.weekday()] * length / 3600
            for site_id, share in SITES:
                mean = expected * share
                count = round(max(0.0, self.random.gauss(mean, math.sqrt(mean))))
                for _ in range(count):
                    created_at = begin + timedelta(milliseconds=int(self.random.random() * length * 1000))
                    app = self.random.choices(APPS, _SHARES)[0]
                    yield self.run(site_id, app.name, self.member(), created_at)

    def member(self) -> str:
        """A member; a few of them make most of the calls."""
        return f"member-{int(self.random.random() ** 2.5 * _MEMBERS) + 1}"

    def run(
        self,
        site_id: str,
        app_type: str,
        member_id: str,
        created_at: datetime,
        *,
        status: str | None = None,
        trigger_job_id: int | None = None,
    ) -> DemoRun:
        """One call, whose end may be told; what would end after now is still running."""
        random = self.random
        app = _APPS_BY_NAME[app_type]
        status = status or self._status(site_id, app_type, created_at)
        prompt_tokens, completion_tokens, latency_ms = self._cost(app, status)
        finished_at = None if latency_ms is None else created_at + timedelta(milliseconds=latency_ms)
        if finished_at is not None and finished_at > self.now:
            status, finished_at, latency_ms, completion_tokens = "running", None, None, None
        thing, number = random.choice(THINGS), random.randint(1000, 9999)
        response = random.choice(app.responses).format(thing=thing, number=number)
        alert_status, changed_by, changed_at = self._handling(status, created_at)
        return DemoRun(
            site_id=site_id,
            app_type=app_type,
            trigger_type="event" if trigger_job_id else ("schedule" if random.random() < 0.08 else "user"),
            member_id=member_id,
            session_id=f"{member_id.replace('member', 'session')}-{created_at:%m%d%H}",
            request_prompt=random.choice(app.prompts).format(thing=thing, number=number),
            response_text=response if status == "success" else None,
            model=app.model,
            tokens_used=(prompt_tokens or 0) + (completion_tokens or 0),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            latency_ms=latency_ms,
            status=status,
            error_message=random.choice(ERRORS[status]) if status in ERRORS else None,
            alert_status=alert_status,
            alert_changed_by=changed_by,
            alert_changed_at=changed_at,
            trigger_job_id=trigger_job_id,
            created_at=created_at,
            finished_at=finished_at,
        )

    def _status(self, site_id: str, app_type: str, created_at: datetime) -> str:
        for burst in self._bursts:
            if (
                burst.start <= created_at < burst.end
                and burst.site_id in (None, site_id)
                and burst.app_type in (None, app_type)
                and self.random.random() < burst.share
            ):
                return burst.status
        chance = self.random.random()
        return "failed" if chance < 0.008 else "timeout" if chance < 0.011 else "success"

    def _cost(self, app: App, status: str) -> tuple[int | None, int | None, int | None]:
        """Prompt tokens, completion tokens, and latency in milliseconds, log-normal about their medians."""
        if status in ("pending", "circuit_open"):
            # Nothing was sent to a model; a refused call takes a moment, a waiting one has not begun.
            return None, None, None if status == "pending" else self.random.randint(1, 6)
        prompt = round(app.prompt_tokens * self.random.lognormvariate(0, 0.45))
        completion = max(1, round(app.completion_tokens * self.random.lognormvariate(0, 0.55)))
        first_token, token = MODELS[app.model]
        latency = round((first_token + token * completion) * self.random.lognormvariate(0, 0.3))
        if status == "running":
            return prompt, None, None
        if status == "timeout":
            return prompt, None, _TIMEOUT_MS + self.random.randint(0, 40)
        if status == "failed":
            return prompt, None, max(20, latency // 4)
        return prompt, completion, min(latency, _TIMEOUT_MS - 1)

    def _handling(self, status: str, created_at: datetime) -> tuple[str | None, str | None, datetime | None]:
        """What became of an alert: old ones are mostly handled, new ones mostly not."""
        if status not in ERRORS:
            return None, None, None
        age = self.now - created_at
        chance = self.random.random()
        if age < timedelta(hours=1) or chance < (0.8 if age < timedelta(days=1) else 0.2):
            return (None if chance < 0.5 else "pending"), None, None
        handled = "ignored" if chance > 0.9 else "acknowledged"
        changed_at = created_at + age * self.random.uniform(0.001, 0.3)
        return handled, self.random.choice(OPERATORS), changed_at
