"""What is wrong with what was looked at: pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

import orjson

from ibex.checks.catalogue import Seen
from ibex.memory.model import Candidate
from ibex.memory.redaction import redact
from ibex.memory.scoring import static_score

EXAMPLES: Final = 20  # ids that are kept of what is wrong
UNIT_TOLERANCE: Final = 1e-3  # of a vector's length: it is stored in 32 bits
#: Between two refreshes scores fall, each category's at its own pace: the order of two memories
#: closer than this is no fault of the list.
_NEAR: Final = 0.01


def seen(looked_at: int, wrong: Mapping[UUID, Iterable[str]]) -> Seen:
    """`wrong`: by id, what is wrong with it; nothing: it is right."""
    faulty = {one: kinds for one, listed in wrong.items() if (kinds := tuple(listed))}
    found = Counter(kind for kinds in faulty.values() for kind in kinds)
    return Seen(
        looked_at=looked_at,
        found=dict(sorted(found.items())),
        wrong=len(faulty),
        examples=[str(one) for one in list(faulty)[:EXAMPLES]],
    )


def vector_fault(length: float | None) -> list[str]:
    if length is None:
        return ["missing"]
    return ["not_unit_length"] if not abs(length - 1) <= UNIT_TOLERANCE else []


def personal_kinds(texts: Iterable[str]) -> list[str]:
    """The kinds of personal data and secrets in them, each once."""
    return sorted({kind for text in texts for kind in redact(text).counts})


def list_faults(
    held: Sequence[Candidate],
    best: Sequence[Candidate],
    in_force: Collection[UUID],
    size: int,
    now: datetime,
) -> list[str]:
    """Of a hot list beside the `size` best of the database, and those of its own that are in
    force."""
    faults = []
    if any(one.id not in in_force for one in held):
        faults.append("not_in_force")
    now_best = {one.id: one for one in best}
    if any(one.id in now_best and now_best[one.id].version != one.version for one in held):
        faults.append("other_version")
    there = {one.id for one in held}
    lacking = [static_score(one, now) for one in best if one.id not in there]
    if lacking:
        weakest = min((static_score(one, now) for one in held), default=0.0)
        room = len(held) < min(size, len(best))
        if room or max(lacking) > weakest + _NEAR:
            faults.append("lacks_a_better_one")
    return faults


@dataclass(frozen=True)
class Checkpoint:
    """A turn as the database and the archive both have it, content or not."""

    number: int
    request_id: str
    chain_hash: str  # hexadecimal


def archive_faults(
    data: bytes | None, size: int, digest: bytes, rows: int, checkpoints: Sequence[Checkpoint]
) -> list[str]:
    """Of an archive's bytes beside what the manifest says and what the database has."""
    if data is None:
        return ["missing"]
    if len(data) != size:
        return ["other_size"]
    if sha256(data).digest() != digest:
        return ["other_checksum"]
    try:
        archived = [_checkpoint(orjson.loads(line)) for line in data.splitlines()]
    except (KeyError, TypeError, ValueError):
        return ["unreadable"]
    if len(archived) != rows or archived != list(checkpoints):
        return ["other_checkpoints"]
    return []


def _checkpoint(line: Mapping[str, object]) -> Checkpoint:
    number = line["turn"]
    if not isinstance(number, int):
        raise TypeError
    return Checkpoint(number, str(line["request_id"]), str(line["chain_hash"]))
