"""Counts: of the organization, and of the pipeline's jobs."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.base import Output
from ibex.stores.management import FailedJob, JobCounts, OverviewRecord


class Jobs(Output):
    waiting: int
    leased: int
    done: int
    dead: int


class SessionCounts(Output):
    total: int
    active: int
    completed: int
    extracted: int = Field(description="Completed, every turn turned into memories.")
    archived: int = Field(description="Completed, every turn in the archive.")


class MemoryCounts(Output):
    active: int
    quarantined: int
    superseded: int


class Overview(Output):
    organization: str
    agents: int
    sessions: SessionCounts
    turns: int
    memories: MemoryCounts
    jobs: Jobs

    @classmethod
    def of(cls, record: OverviewRecord, jobs: JobCounts) -> Self:
        return cls(
            organization=record.organization,
            agents=record.agents,
            sessions=SessionCounts(
                total=record.sessions,
                active=record.active,
                completed=record.completed,
                extracted=record.extracted,
                archived=record.archived,
            ),
            turns=record.turns,
            memories=MemoryCounts(
                active=record.memories,
                quarantined=record.quarantined,
                superseded=record.superseded,
            ),
            jobs=Jobs.model_validate(jobs),
        )


class Failure(Output):
    session_id: UUID
    status: str
    attempts: int
    last_error: str | None = Field(description="An error code.")
    available_at: datetime = Field(description="When it is tried again, unless it is dead.")
    updated_at: datetime

    @classmethod
    def of(cls, record: FailedJob) -> Self:
        return cls.model_validate(record)


class Pipeline(Output):
    jobs: Jobs
    oldest_waiting_at: datetime | None
    unarchived_sessions: int
    failures: list[Failure] = Field(description="The latest that are not over, at most 20.")
