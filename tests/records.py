"""What an assembler's answer says about the memories in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ibex.rpc import AssembleContextResponse
from ibex.stores.injections import named_parts


@dataclass(frozen=True)
class Named:
    """An injected or dropped memory in the record; of a dropped one that is gone only the first."""

    memory_id: str
    version: int
    reason: str = ""  # of a dropped one
    category: str = ""
    score: float = 0.0
    parts: Mapping[str, float] | None = None
    tokens: int = 0
    origin: str = ""
    insertion: int = 0


def injected(answer: AssembleContextResponse) -> list[Named]:
    assert answer.record is not None
    found = [_named(one) for one in _array(answer.record.memories)]
    assert len(found) == answer.memories
    return found


def dropped(answer: AssembleContextResponse) -> list[Named]:
    assert answer.record is not None
    return [_named(one) for one in _array(answer.record.dropped)]


def _named(one: dict[str, Any]) -> Named:
    return Named(**(one | {"parts": named_parts(one.get("parts"))}))


def _array(content: bytes) -> list[dict[str, Any]]:
    array: list[dict[str, Any]] = orjson.loads(content)
    return array
