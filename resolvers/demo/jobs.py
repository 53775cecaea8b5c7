"""The demo's jobs, in every state, with the runs they started; and its cached answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from db.imports.demo import DemoCacheEntry, DemoJob, DemoRun
from resolvers.demo.runs import DAYS, RunMaker
from resolvers.demo.words import APPS, EVENTS, SITES, THINGS, Event

_FINISHED_JOBS = 1600
_CACHE_ENTRIES = 1500
_SITE_IDS = [site_id for site_id, _ in SITES]
_SITE_SHARES = [share for _, share in SITES]


class JobMaker:
    """Makes jobs with ids from 1, and collects their runs."""

    def __init__(self, maker: RunMaker) -> None:
        self._maker = maker
        self._random = maker.random
        self._now = maker.now
        self.jobs: list[DemoJob] = []
        self.runs: list[DemoRun] = []

    def make_all(self) -> None:
        """Jobs of the past days, oldest first, and then those of the last minutes."""
        span = timedelta(days=DAYS) - timedelta(minutes=20)
        ages = sorted((span * self._random.random() for _ in range(_FINISHED_JOBS)), reverse=True)
        for age in ages:
            self._finished(self._now - timedelta(minutes=20) - age)
        midnight = self._now.replace(hour=0, minute=0, second=0, microsecond=0)
        for number in range(8):
            # Shortly after midnight too, a few duplicates were skipped today.
            skipped_at = max(midnight, self._now - timedelta(seconds=25 * (9 - number)))
            self._add(skipped_at, "skipped_duplicate", finished_at=skipped_at)
        for seconds in (55, 40, 22, 9):
            self._running(self._now - timedelta(seconds=seconds))
        for seconds in (18, 14, 11, 6, 3, 1):
            self._add(self._now - timedelta(seconds=seconds), "pending")

    def _finished(self, created_at: datetime) -> None:
        chance = self._random.random()
        if chance < 0.04:
            self._add(created_at, "skipped_duplicate", finished_at=created_at)
        elif chance < 0.06:
            self._add(created_at, "cancelled", finished_at=created_at + timedelta(minutes=2))
        elif chance < 0.16:
            job = self._called(created_at, failed=True)
            if self._random.random() < 0.5 and job.finished_at:
                self._retry(job, job.finished_at + timedelta(minutes=self._random.uniform(1, 10)))
        else:
            self._called(created_at, failed=False)

    def _retry(self, job: DemoJob, created_at: datetime) -> None:
        failed = self._random.random() < 0.2
        retried = self._called(created_at, failed=failed, retry_of=job)
        if failed and retried.finished_at:
            self._called(retried.finished_at + timedelta(minutes=3), failed=False, retry_of=retried)

    def _called(self, created_at: datetime, *, failed: bool, retry_of: DemoJob | None = None) -> DemoJob:
        """A finished job; where it failed, its last run did."""
        started_at = created_at + timedelta(milliseconds=self._random.randint(40, 4000))
        job = self._add(created_at, "success", started_at=started_at, retry_of=retry_of)
        last = self._random.randrange(len(job.app_chain)) if failed else len(job.app_chain) - 1
        at, error = started_at, None
        for step, app_type in enumerate(job.app_chain[: last + 1]):
            status = "failed" if failed and step == last else "success"
            run = self._maker.run(
                job.site_id, app_type, job.member_id, at, status=status, trigger_job_id=job.id
            )
            self.runs.append(run)
            at, error = run.finished_at or at, run.error_message
        finished = job._replace(
            status="failed" if failed else "success",
            error_message=error and f"{job.app_chain[last]}: {error}",
            finished_at=at + timedelta(milliseconds=12),
        )
        self.jobs[-1] = finished
        return finished

    def _running(self, created_at: datetime) -> None:
        job = self._add(created_at, "running", started_at=created_at + timedelta(milliseconds=300))
        self.runs.append(
            self._maker.run(
                job.site_id,
                job.app_chain[0],
                job.member_id,
                created_at + timedelta(milliseconds=320),
                status="running",
                trigger_job_id=job.id,
            )
        )

    def _add(
        self,
        created_at: datetime,
        status: str,
        *,
        started_at: datetime | None = None,
        finished_at: datetime | None = None,
        retry_of: DemoJob | None = None,
    ) -> DemoJob:
        event = self._random.choices(EVENTS, [event.share for event in EVENTS])[0]
        job = DemoJob(
            id=len(self.jobs) + 1,
            site_id=self._random.choices(_SITE_IDS, _SITE_SHARES)[0],
            event_type=event.name,
            connector_type=event.connector,
            member_id=self._maker.member(),
            payload=self._payload(event),
            app_chain=list(event.chain),
            is_forced=self._random.random() < 0.05,
            status=status,
            error_message=None,
            retry_of_id=None,
            attempt=1,
            created_at=created_at,
            started_at=started_at,
            finished_at=finished_at,
        )
        if retry_of is not None:
            job = retry_of._replace(
                id=job.id, is_forced=True, status=status, error_message=None, retry_of_id=retry_of.id,
                attempt=retry_of.attempt + 1, created_at=created_at, started_at=started_at, finished_at=None,
            )  # fmt: skip
        self.jobs.append(job)
        return job

    def _payload(self, event: Event) -> dict[str, Any]:
        return {
            "event": event.name,
            "article": self._random.choice(THINGS),
            "reference": self._random.randint(100_000, 999_999),
            "amount": round(self._random.lognormvariate(3.6, 0.6), 2),
        }


def make_cache(maker: RunMaker) -> Iterator[DemoCacheEntry]:
    """Cached answers: most are valid, some have expired, some were invalidated."""
    random, now = maker.random, maker.now
    for _ in range(_CACHE_ENTRIES):
        app = random.choices(APPS, [app.share for app in APPS])[0]
        created_at = now - timedelta(days=DAYS) * random.random() ** 2
        chance = random.random()
        lives = timedelta(days=random.choice((1, 7, 30)))
        if chance < 0.65:
            expires_at = now + lives * random.uniform(0.05, 1)
        else:
            expires_at = created_at + (now - created_at) * random.uniform(0.1, 0.95)
        text = random.choice(app.responses).format(
            thing=random.choice(THINGS), number=random.randint(1000, 9999)
        )
        yield DemoCacheEntry(
            site_id=random.choices(_SITE_IDS, _SITE_SHARES)[0],
            cache_type=app.name,
            target_id=maker.member(),
            status="invalidated" if chance > 0.85 else "valid",
            result={"text": text, "model": app.model},
            created_at=created_at,
            expires_at=expires_at,
        )
