"""What was put into one request and why, and the same bytes once more.

The record holds ids, versions and hashes, no content. The words come from the append-only versions
of memories and directives; the hashes tell whether they make the bytes that the provider got.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np

from ibex.errors import NotFoundError
from ibex.memory.model import Candidate, Category
from ibex.memory.rendering import render, render_later
from ibex.stores.injections import InjectionReader, SaidVersion, StoredInjection, named_parts


@dataclass(frozen=True)
class ReplayedInsertion:
    """A message that was inserted before the client's message at `position`."""

    position: int
    pinned: bool
    tokens: int
    sha256: str
    content: str | None = field(repr=False)  # None: it cannot be rendered again
    outcome: str  # "identical", or why it is not

    @property
    def identical(self) -> bool:
        return self.outcome == "identical"


@dataclass(frozen=True)
class ExplainedMemory:
    memory_id: str
    version: int
    content: str | None = field(repr=False)  # None: it is erased
    state: str  # now: in force | superseded | quarantined | changed | gone
    decision: str  # kept | dropped
    reason: str  # of what was dropped
    category: str
    score: float | None
    parts: Mapping[str, float]
    tokens: int | None
    origin: str
    insertion: int | None
    support: float | None  # the chance that the answer rests on it; None: not looked at


@dataclass(frozen=True)
class Explanation:
    record: StoredInjection
    memories: tuple[ExplainedMemory, ...]  # the kept ones first, each group best first
    insertions: tuple[ReplayedInsertion, ...]

    @property
    def identical(self) -> bool:
        return all(one.identical for one in self.insertions)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`, with content."""
        record = self.record
        return {
            "request_id": record.request_id,
            "agent_id": str(record.agent_id),
            "session_id": str(record.session_id),
            "model": record.model,
            "created_at": record.created_at.isoformat(),
            "directive_version": record.directive_version,
            "tokens": record.tokens,
            "sha256": record.sha256.hex(),
            "degraded": list(record.degraded),
            "identical": self.identical,
            "insertions": [
                {
                    "position": one.position,
                    "pinned": one.pinned,
                    "tokens": one.tokens,
                    "sha256": one.sha256,
                    "outcome": one.outcome,
                    "content": one.content,
                }
                for one in self.insertions
            ],
            "memories": [
                {name: getattr(one, name) for name in ExplainedMemory.__dataclass_fields__}
                for one in self.memories
            ],
        }


async def explain(reader: InjectionReader, org_id: UUID, request_id: str) -> Explanation:
    """Raises NotFoundError when nothing was recorded for this request."""
    record = await reader.injection(org_id, request_id)
    if record is None:
        raise NotFoundError(
            "Nothing was recorded as injected into this request.",
            hint="The x-request-id of the proxy's answer is asked for; --org names its tenant.",
        )
    listed = (*record.memories, *record.dropped)
    said = await reader.versions(
        org_id, [(UUID(one["memory_id"]), one["version"]) for one in listed]
    )
    return Explanation(record, _memories(record, said), _replayed(record, said))


def _memories(
    record: StoredInjection, said: Mapping[tuple[UUID, int], SaidVersion]
) -> tuple[ExplainedMemory, ...]:
    supports = {one["memory_id"]: one["support"] for one in record.observations}
    kept = [_memory(one, said, "kept", supports) for one in record.memories]
    dropped = [_memory(one, said, "dropped", {}) for one in record.dropped]
    return tuple(
        one for group in (kept, dropped) for one in sorted(group, key=lambda m: -(m.score or 0))
    )


def _memory(
    one: Mapping[str, Any],
    said: Mapping[tuple[UUID, int], SaidVersion],
    decision: str,
    supports: Mapping[str, float],
) -> ExplainedMemory:
    version = said.get((UUID(one["memory_id"]), one["version"]))
    return ExplainedMemory(
        memory_id=one["memory_id"],
        version=one["version"],
        content=version.content if version else None,
        state=version.state if version else "gone",
        decision=decision,
        reason=one.get("reason", ""),
        category=one.get("category", version.category if version else ""),
        score=one.get("score"),
        parts=named_parts(one.get("parts")),
        tokens=one.get("tokens"),
        origin=one.get("origin", ""),
        insertion=one.get("insertion"),
        support=supports.get(one["memory_id"]),
    )


def _replayed(
    record: StoredInjection, said: Mapping[tuple[UUID, int], SaidVersion]
) -> tuple[ReplayedInsertion, ...]:
    replayed = []
    for number, insertion in enumerate(record.insertions):
        own = [one for one in record.memories if one.get("insertion", 0) == number]
        content, outcome = _render(record, insertion, own, said)
        replayed.append(
            ReplayedInsertion(
                position=insertion["position"],
                pinned=insertion["pinned"],
                tokens=insertion["tokens"],
                sha256=insertion["sha256"],
                content=content,
                outcome=outcome,
            )
        )
    return tuple(replayed)


def _render(
    record: StoredInjection,
    insertion: Mapping[str, Any],
    own: Sequence[Mapping[str, Any]],
    said: Mapping[tuple[UUID, int], SaidVersion],
) -> tuple[str | None, str]:
    directive = None
    if insertion["pinned"] and record.directive_version is not None:
        if record.directive is None:
            return None, f"version {record.directive_version} of the directive is erased"
        directive = record.directive
    versions = [said.get((UUID(one["memory_id"]), one["version"])) for one in own]
    erased = sum(version is None for version in versions)
    if erased:
        return None, f"{erased} of its {len(own)} memories erased"
    memories = [_candidate(version) for version in versions if version]
    rendered = render(directive, memories) if insertion["pinned"] else render_later(memories)
    if rendered is None:
        return None, "nothing to render"
    same = rendered.sha256.hex() == insertion["sha256"]
    return rendered.content, "identical" if same else "the bytes differ"


def _candidate(version: SaidVersion) -> Candidate:
    """With what rendering reads; the rest is of no account."""
    return Candidate(
        id=version.memory_id,
        version=version.version,
        category=Category(version.category),
        content=version.content,
        confidence=0.0,
        usefulness=0.0,
        access_count=0,
        valid_from=version.valid_from,
        embedding=np.zeros(0, np.float32),
    )
