"""What differs between what was believed and what is: pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from ibex.backfills.model import Change, Kind
from ibex.ids import new_id
from ibex.memory.model import Vector

_SAME_MATTER: Final = 0.7  # cosine above which two statements of a session are about the same


@dataclass(frozen=True)
class Held:
    """A memory as far as people see a difference."""

    content_hash: bytes = field(repr=False)
    category: str
    status: str
    valid_from: datetime
    valid_to: datetime | None


@dataclass(frozen=True)
class Shown:
    """What a memory says, and where from."""

    id: UUID
    content: str = field(repr=False)
    session_id: UUID | None
    confidence: float
    embedding: Vector = field(repr=False)


def heirs(gone: Sequence[Shown], made: Sequence[Shown]) -> dict[UUID, UUID]:
    """By the id of a memory that is gone, the new one of the same session that is about the same;
    the nearest first, each at most once."""
    pairs = sorted(
        (
            (-cosine, str(old.id), old.id, new.id)
            for old in gone
            for new in made
            if old.session_id is not None and old.session_id == new.session_id
            if (cosine := float(old.embedding @ new.embedding)) > _SAME_MATTER
        ),
    )
    found: dict[UUID, UUID] = {}
    taken: set[UUID] = set()
    for _, _, old_id, new_id_ in pairs:
        if old_id not in found and new_id_ not in taken:
            found[old_id] = new_id_
            taken.add(new_id_)
    return found


def differs(one: Held, other: Held) -> tuple[str, ...]:
    parts = {
        "words": one.content_hash != other.content_hash,
        "category": one.category != other.category,
        "validity": (one.valid_from, one.valid_to) != (other.valid_from, other.valid_to),
        "status": one.status != other.status,
    }
    return tuple(name for name, differs_ in parts.items() if differs_)


def changed_ids(before: Mapping[UUID, Held], after: Mapping[UUID, Held]) -> set[UUID]:
    """Of memories that are on one side only, or not the same on both."""
    return {one for one in {*before, *after} if before.get(one) != after.get(one)}


def changes(
    before: Mapping[UUID, Held],
    after: Mapping[UUID, Held],
    succession: Mapping[UUID, UUID],
    shown: Mapping[UUID, Shown],
) -> list[Change]:
    """`succession`: `heirs`. `shown`: those of `after` that changed."""
    found = []
    inherited = frozenset(succession.values())
    for memory in sorted(changed_ids(before, after)):
        old, now = before.get(memory), after.get(memory)
        if old is None:
            if memory not in inherited and now is not None:
                found.append(_change(Kind.ADDED, None, (), now, shown[memory]))
        elif now is not None:
            found.append(_change(Kind.CHANGED, memory, differs(old, now), now, shown[memory]))
        elif (heir := succession.get(memory)) in after and heir is not None:
            parts = differs(old, after[heir])
            found.append(_change(Kind.CHANGED, memory, parts, after[heir], shown[heir]))
        else:
            found.append(_change(Kind.GONE, memory, (), None, None))
    return found


def unchanged(
    affected: Collection[UUID], before: Mapping[UUID, Held], after: Mapping[UUID, Held]
) -> int:
    """Of the memories that were looked at, those that are as they were."""
    return sum(one in before and before[one] == after.get(one) for one in affected)


def _change(
    kind: Kind,
    memory_id: UUID | None,
    parts: tuple[str, ...],
    now: Held | None,
    shown: Shown | None,
) -> Change:
    return Change(
        id=new_id(),
        kind=kind,
        differs=parts,
        memory_id=memory_id,
        session_id=shown.session_id if shown else None,
        content=shown.content if shown else None,
        category=now.category if now else None,
        status=now.status if now else None,
        confidence=shown.confidence if shown else None,
        valid_from=now.valid_from if now else None,
        valid_to=now.valid_to if now else None,
    )
