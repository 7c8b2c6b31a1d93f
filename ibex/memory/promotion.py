"""When what users say becomes the agent's own: several of them said the same, and it is about none
of them.

What one user says is that user's memory, and neither a wish nor anything personal ever becomes
more. A plain fact about the world they share ("deploys run at noon") does when enough users said it
and none of them says otherwise.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ibex.memory.conflicts import Resolution, Statement, Verdict
from ibex.memory.model import Category

Judge = Callable[[Statement, Statement, float], Verdict]

# Of the one who speaks, and of people in general.
_PERSONAL: Final = re.compile(
    r"\b(?:users?|i|i'm|i've|me|my|mine|myself|we|us|our|ours|he|him|his|she|hers?|nutzer\w*|ich"
    r"|mein\w*|mich|mir|wir|unser\w*|uns)\b|^[\w .'-]{1,40}: |\[[A-Z_]+\]",
    re.IGNORECASE,
)
#: Something else is said, or might be.
_OTHERWISE: Final = frozenset({Resolution.SUPERSEDE, Resolution.CONTRADICT, Resolution.UNDECIDED})


@dataclass(frozen=True)
class Told:
    """A memory in force, of a user or (None) the agent's own."""

    id: UUID
    user_id: UUID | None
    statement: Statement


def may_be_common(statement: Statement) -> bool:
    """Is it a fact about something that users share?"""
    return statement.category is Category.DECLARATIVE and not (
        _PERSONAL.search(statement.content) or _PERSONAL.search(statement.subject)
    )


def agreed(
    told: Told, near: Sequence[tuple[Told, float]], judge: Judge, users: int
) -> Sequence[Told]:
    """Memories of at least `users` users that say what `told` says, the earliest first, `told`
    among them; empty when they are fewer, when somebody says otherwise, or when the agent knows it.

    `near` are other memories of the same agent with their cosines.
    """
    if not may_be_common(told.statement):
        return ()
    same = [told]
    for other, cosine in near:
        older, newer = sorted((told, other), key=_order)
        resolution = judge(older.statement, newer.statement, cosine).resolution
        if resolution in _OTHERWISE:
            return ()
        if resolution is Resolution.DUPLICATE:
            if other.user_id is None:
                return ()
            same.append(other)
    if len({one.user_id for one in same}) < users:
        return ()
    return sorted(same, key=_order)


def _order(told: Told) -> tuple[object, UUID]:
    return told.statement.valid_from, told.id
