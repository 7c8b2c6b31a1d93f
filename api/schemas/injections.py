"""What was put into a request, and what was left out."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BeforeValidator, Field

from api.schemas.base import Output
from ibex.memory.model import Category
from ibex.stores.injections import named_parts
from ibex.stores.management import InjectionRecord, MemoryText

Parts = Annotated[dict[str, float], BeforeValidator(named_parts)]


class InjectedMemory(Output):
    memory_id: UUID
    version: int
    category: Category
    score: float
    parts: Parts = Field(description="Of the composite score, each in [0, 1].")
    tokens: int
    origin: str = Field(
        description="hot | cold | both | pinned: known from an earlier request of the session only"
    )
    insertion: int = Field(0, description="The number of its insertion, from 0.")
    current_version: int | None = Field(None, description="Null: the memory is gone.")
    content: str | None = Field(None, description="What the memory says now.")
    support: float | None = Field(
        None,
        description="The chance that the answer rests on it, in [0, 1]. Null: not looked at yet.",
    )


class Insertion(Output):
    position: int = Field(description="It stands before the client's message with this number.")
    pinned: bool = Field(description="The block that the session started with.")
    tokens: int
    sha256: str = Field(description="Of its content, in hexadecimal.")


class DroppedMemory(Output):
    memory_id: UUID
    version: int
    reason: str = Field(
        description="relevance | duplicate | budget | gain | settled | window | gone | unknown"
    )
    category: Category | None = Field(None, description="Null, as what follows: it was gone.")
    score: float | None = None
    parts: Parts | None = None
    tokens: int | None = None
    origin: str | None = None


class Injection(Output):
    request_id: str
    agent_id: UUID
    session_id: UUID
    directive_version: int | None
    position: int
    tokens: int
    sha256: str = Field(description="Of the injected bytes, in hexadecimal.")
    memories: list[InjectedMemory]
    insertions: list[Insertion] = Field([], description="In order.")
    dropped: list[DroppedMemory] = Field([], description="The best 20 that were left out.")
    degraded: list[str] = Field([], description="What did not arrive in time.")
    created_at: datetime
    observed_at: datetime | None = Field(
        None, description="When it was found out what the answer rests on; within minutes."
    )

    @classmethod
    def of(
        cls, record: InjectionRecord, texts: Mapping[UUID, MemoryText], *, with_content: bool
    ) -> Self:
        memories = [InjectedMemory.model_validate(memory) for memory in record.memories]
        supports = {UUID(one["memory_id"]): one["support"] for one in record.observations}
        for memory in memories:
            memory.support = supports.get(memory.memory_id)
            now = texts.get(memory.memory_id)
            memory.current_version = now.version if now else None
            memory.content = now.content if now and with_content else None
        return cls(
            request_id=record.request_id,
            agent_id=record.agent_id,
            session_id=record.session_id,
            directive_version=record.directive_version,
            position=record.position,
            tokens=record.tokens,
            sha256=record.sha256.hex(),
            memories=memories,
            insertions=[Insertion.model_validate(one) for one in record.insertions],
            dropped=[DroppedMemory.model_validate(one) for one in record.dropped],
            degraded=list(record.degraded),
            created_at=record.created_at,
            observed_at=record.observed_at,
        )
