"""An execution of a job as far as it has come: which app is called next, with what, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from db.sql.scope import Scope
from db.worker.work import EarlierRunRow, LeaseRow
from resolvers.worker.apps import Answer, App


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a job, as far as it has come."""

    job_id: int
    site_id: str
    job: LeaseRow
    engine_id: int
    lease_id: UUID
    # The calls that former executions made, by their place in the chain.
    earlier: Mapping[int, EarlierRunRow]
    cancelled: bool = False
    position: int = 0
    # The answer of the app before, which is the input of the next one.
    answer: str | None = None
    tokens: int = 0
    error: str | None = None

    @property
    def scope(self) -> Scope:
        """The site of the job."""
        return Scope.of(self.site_id)

    @property
    def chain(self) -> list[str]:
        """The apps to call, in order."""
        return self.job.app_types


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is to be made, and has its row."""

    app: App
    key: str
    request: dict[str, Any]
    # Whether an answer has failures to make good: an app that says of a job that it failed works.
    closes_circuit: bool
    # The row, by its id and time of creation; None where a former execution has made it.
    run: tuple[int, datetime] | None = None


def after(execution: Execution, answer: Answer, cancelled: bool) -> Execution:
    """The execution one app further."""
    app = execution.chain[execution.position]
    return replace(
        execution,
        cancelled=cancelled,
        position=execution.position + 1,
        answer=answer.response,
        tokens=execution.tokens + (answer.tokens or 0),
        error=None if answer.status == "success" else f"{app}: {answer.error or answer.status}",
    )


def values_of(answer: Answer) -> dict[str, Any]:
    """What a run's row gets of an answer."""
    return {
        "status": answer.status,
        "tokens": answer.tokens,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "model": answer.model,
        "response": answer.response,
        "latency_ms": answer.latency_ms,
        "error": answer.error,
    }


def values_of_end(execution: Execution, call: Call, answer: Answer) -> dict[str, Any] | None:
    """What FINISH_JOB writes, where this answer ends the job and tells nothing of the app's circuit."""
    if call.run is None or answer.is_fault or call.closes_circuit:
        return None
    ended = after(execution, answer, cancelled=False)
    status = end_of(ended)
    if status is None:
        return None
    return {
        "job_id": execution.job_id,
        "engine_id": execution.engine_id,
        "lease_id": execution.lease_id,
        "run_id": call.run[0],
        "run_created_at": call.run[1],
        **values_of(answer),
        "job_status": status,
        "job_error": ended.error,
        "job_tokens": ended.tokens,
    }


def end_of(execution: Execution) -> str | None:
    """The status with which the job has ended; None while an app is still to be called.

    A call that a former execution began gets its answer first, also where the job should stop.
    """
    if execution.error is not None:
        return "failed"
    if execution.position == len(execution.chain):
        return "success"
    return "cancelled" if execution.cancelled and execution.position not in execution.earlier else None


def answer_of(run: EarlierRunRow) -> Answer:
    """The answer that a former execution got."""
    status: Any = run.status
    return Answer(status, tokens=run.tokens_used, response=run.response_text, error=run.error_message)


def request_of(execution: Execution, key: str) -> dict[str, Any]:
    """What the next app is sent."""
    job = execution.job
    return {
        "job": f"job_{execution.job_id}",
        "app": execution.chain[execution.position],
        "site": execution.site_id,
        "member": job.member_id,
        "event": job.event_type,
        "payload": job.payload,
        "input": execution.answer,
        "idempotencyKey": key,
    }


def run_row(execution: Execution, key: str) -> dict[str, Any]:
    """The row of a call that begins, by the columns' names."""
    job = execution.job
    return {
        "site_id": execution.site_id,
        "app_type": execution.chain[execution.position],
        "trigger_type": job.event_type,
        "member_id": job.member_id,
        "status": "running",
        "external_id": key,
        "trigger_job_id": execution.job_id,
    }
