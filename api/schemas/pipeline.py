"""The pipeline's work: states, dead letters, runs."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from api.schemas.base import Input, Output, Text


class Jobs(Output):
    waiting: int
    leased: int
    done: int
    dead: int


class Failure(Output):
    session_id: UUID
    status: str
    attempts: int
    last_error: str | None = Field(description="An error code.")
    available_at: datetime = Field(description="When it is tried again, unless it is dead.")
    updated_at: datetime


class DeadLetterCount(Output):
    code: str | None = Field(description="The error's code of the last try.")
    sessions: int
    oldest_at: datetime = Field(description="When the first of them was given up.")


class Run(Output):
    """A run by what became of its sessions; one that another run claimed since counts there."""

    run_id: str
    started_at: datetime = Field(description="When it claimed its sessions.")
    last_at: datetime | None = Field(description="When the last of them was settled.")
    sessions: int
    leased: int = Field(description="At work.")
    done: int
    waiting: int = Field(description="Failed, and tried again later.")
    dead: int


class Pipeline(Output):
    accepted: int = Field(description="Sessions that were ever completed: the sum of all jobs.")
    jobs: Jobs = Field(description="Every accepted session is in one of these states.")
    oldest_waiting_at: datetime | None = Field(
        description="Since when there is something to extract, however often it was tried."
    )
    unarchived_sessions: int
    dead_letters: list[DeadLetterCount] = Field(description="By error, the most frequent first.")
    failures: list[Failure] = Field(description="The latest that are not over, at most 20.")
    runs: list[Run] = Field(description="The latest ten that claimed sessions.")


class Job(Output):
    id: UUID
    session_id: UUID
    agent_id: UUID
    agent: str
    external_id: str | None = Field(description="The application's own id of the session.")
    status: str = Field(description="waiting, leased, done or dead.")
    attempts: int
    last_error: str | None = Field(description="An error code.")
    available_at: datetime = Field(
        description="Of what waits: when it is tried next; of what is leased: when the lease ends."
    )
    queued_at: datetime = Field(description="Since when there was something to extract.")
    claimed_at: datetime | None = Field(description="When a run took it last.")
    run_id: str | None = Field(description="That run.")
    turn_count: int
    last_extracted_turn: int
    updated_at: datetime = Field(description="Of a dead letter: when it was given up.")


class Requeue(Input):
    """Which dead letters: all of them without a word."""

    agent: Text | None = Field(None, description="Id or name.")
    session: Text | None = Field(None, description="Id, or the application's own.")
    code: Text | None = Field(None, description="Those that ended with this error.")


class Requeued(Output):
    requeued: int = Field(description="Sessions that wait again, with all their tries.")
