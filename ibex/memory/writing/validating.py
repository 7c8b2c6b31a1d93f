"""Step 1: is it a statement at all?"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from ibex.memory.model import Fact

MAX_CONTENT: Final = 4_000  # characters of one statement; more is a document, not a statement
MAX_LABEL: Final = 200  # characters of a subject, an attribute or a tag
MAX_TAGS: Final = 16


def is_valid(fact: Fact, said_at: Mapping[int, datetime]) -> bool:
    """It says something, in bounds, and rests on turns that exist, if there are any."""
    return (
        0 < len(fact.content.strip()) <= MAX_CONTENT
        and all(len(label) <= MAX_LABEL for label in (fact.subject, fact.attribute, *fact.tags))
        and len(fact.tags) <= MAX_TAGS
        and math.isfinite(fact.confidence)
        and 0 <= fact.confidence <= 1
        and bool(fact.turns) is bool(said_at)
        and all(number in said_at for number in fact.turns)
    )


def valid_from(fact: Fact, said_at: Mapping[int, datetime], now: datetime) -> datetime:
    """When the fact began to hold: as it says itself, else when it was first said."""
    return fact.valid_from or said_at.get(min(fact.turns, default=0)) or now
