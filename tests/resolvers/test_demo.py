"""The demo's rows: deterministic, and with everything in them that a newcomer should be able to look at."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from resolvers.demo.load import DemoRows, make_demo

NOW = datetime(2026, 5, 20, 0, 3, tzinfo=UTC)
TODAY = NOW.replace(minute=0)


@pytest.fixture(scope="module")
def demo() -> DemoRows:
    return make_demo(1, NOW)


def test_the_same_seed_makes_the_same_rows_and_another_does_not(demo: DemoRows) -> None:
    assert make_demo(1, NOW) == demo
    assert make_demo(2, NOW).jobs != demo.jobs


def test_thirty_days_up_to_now_and_no_time_after_it(demo: DemoRows) -> None:
    created = [run.created_at for run in demo.runs]
    assert 60_000 < len(created) < 100_000
    assert created == sorted(created)
    assert NOW - timedelta(days=30, hours=1) <= created[0] < NOW - timedelta(days=29)
    assert len({moment.date() for moment in created}) == 31
    for run in demo.runs:
        assert run.created_at <= (run.finished_at or NOW) <= NOW
        assert run.alert_changed_at is None or run.created_at < run.alert_changed_at <= NOW
    for job in demo.jobs:
        assert job.created_at <= (job.started_at or job.created_at) <= (job.finished_at or NOW) <= NOW


def test_days_and_weeks_have_their_rhythm(demo: DemoRows) -> None:
    hours = Counter(run.created_at.hour for run in demo.runs)
    assert hours[10] > 5 * hours[3]
    days = Counter(run.created_at.weekday() for run in demo.runs)
    assert days[4] > 1.3 * days[6]


def test_every_site_app_status_and_alert_status_occurs(demo: DemoRows) -> None:
    assert len({run.site_id for run in demo.runs}) == 5
    assert len({run.app_type for run in demo.runs}) == 8
    statuses = Counter(run.status for run in demo.runs)
    assert set(statuses) == {"success", "failed", "timeout", "circuit_open", "running", "pending"}
    assert 0.95 < statuses["success"] / len(demo.runs) < 0.995
    alerts = [run for run in demo.runs if run.status in ("failed", "timeout", "circuit_open")]
    assert {run.alert_status for run in alerts} == {None, "pending", "acknowledged", "ignored"}
    assert all(run.error_message for run in alerts)
    in_flight = [run for run in demo.runs if run.finished_at is None]
    assert len(in_flight) >= 11
    assert all(run.status in ("running", "pending") for run in in_flight)
    assert min(run.created_at for run in in_flight) > NOW - timedelta(minutes=10)


def test_failures_come_in_bursts(demo: DemoRows) -> None:
    def failures(runs_of: str) -> Counter[str]:
        return Counter(f"{run.created_at:%m%d%H}" for run in demo.runs if run.status == runs_of)

    hours = failures("failed") + failures("timeout") + failures("circuit_open")
    assert max(hours.values()) > 10 * sum(hours.values()) / (30 * 24)


def test_tokens_add_up(demo: DemoRows) -> None:
    for run in demo.runs:
        assert run.tokens_used == (run.prompt_tokens or 0) + (run.completion_tokens or 0)
    assert all(run.completion_tokens for run in demo.runs if run.status == "success")


def test_jobs_are_in_every_state_and_linked(demo: DemoRows) -> None:
    jobs = {job.id: job for job in demo.jobs}
    assert len(jobs) == len(demo.jobs)
    assert {job.status for job in demo.jobs} == {
        "pending", "running", "success", "failed", "skipped_duplicate", "cancelled",
    }  # fmt: skip
    linked = [run for run in demo.runs if run.trigger_job_id]
    assert {run.trigger_job_id for run in linked} == {
        job.id for job in demo.jobs if job.status in ("success", "failed", "running")
    }
    for run in linked:
        job = jobs[run.trigger_job_id or 0]
        assert (run.site_id, run.member_id) == (job.site_id, job.member_id)
        assert run.app_type in job.app_chain
    retries = [job for job in demo.jobs if job.retry_of_id]
    assert {job.attempt for job in retries} == {2, 3}
    for job in retries:
        original = jobs[job.retry_of_id or 0]
        assert (original.status, original.payload, original.attempt) == (
            "failed",
            job.payload,
            job.attempt - 1,
        )
    assert all(job.error_message for job in demo.jobs if job.status == "failed")


def test_duplicates_were_skipped_today_even_just_after_midnight(demo: DemoRows) -> None:
    skipped = [job for job in demo.jobs if job.status == "skipped_duplicate" and job.created_at >= TODAY]
    assert len(skipped) >= 8


def test_the_cache_holds_valid_expired_and_invalidated_answers(demo: DemoRows) -> None:
    kinds = Counter((entry.status, entry.expires_at > NOW) for entry in demo.cache)
    assert kinds[("valid", True)] > kinds[("valid", False)] > 0
    assert kinds[("invalidated", False)] > 0
    assert all(entry.expires_at > entry.created_at for entry in demo.cache)
