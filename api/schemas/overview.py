"""Counts of the organization."""

from typing import Self

from pydantic import Field

from api.schemas.base import Output
from api.schemas.pipeline import Jobs
from ibex.stores.management import OverviewRecord
from ibex.stores.pipeline import JobCounts


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
