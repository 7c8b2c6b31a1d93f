"""Whether a memory is believed as it comes, or waits for an operator.

Trust follows from where words come from and what they aim at:

    who says it                 a fact      an instruction     an instruction that aims at other
                                                               users, secrets, the operator's
                                                               directive or a place outside
    user, assistant             active      active             quarantined
    tool, document, import      active      quarantined        quarantined
    operator                    active      active             active

So a user's wish about how to be served is that user's memory, and the same words on a web page wait
for a review. The rules are patterns (`ibex.memory.instructions`): they see what is said plainly, in
disguise too (`ibex.memory.folding`), and not every paraphrase. What they miss is still rendered as
quoted data, reaches its own user only, and can be taken out by an operator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from ibex.memory import instructions
from ibex.memory.folding import readings
from ibex.memory.model import Category, Source


class Status(StrEnum):
    ACTIVE = "active"
    QUARANTINED = "quarantined"  # stored, never injected, shown for review
    REJECTED = "rejected"  # reviewed; stays, so that the same words do not come again


class Reason(StrEnum):
    """Why a memory is quarantined."""

    DIRECTIVE = "directive"  # aims at the operator's directive, or pretends to be one
    OTHER_USERS = "other_users"
    SECRETS = "secrets"
    EXFILTRATION = "exfiltration"  # sends data to a place outside
    INSTRUCTION = "instruction"  # from a source that has none to give


@dataclass(frozen=True)
class Trust:
    status: Status
    reason: Reason | None  # None: active


BELIEVED: Final = Trust(Status.ACTIVE, None)
#: Sources whose words are what somebody else wrote.
OUTSIDE: Final = frozenset({Source.TOOL, Source.DOCUMENT, Source.IMPORT})
#: Of these, the ones in which nobody talks to anybody: a bare command is meant for the reader.
_WRITTEN: Final = frozenset({Source.TOOL, Source.DOCUMENT})


def assess(content: str, *, source: Source, category: Category) -> Trust:
    """What becomes of a memory with these words."""
    if source is Source.OPERATOR:
        return BELIEVED
    read = readings(content)
    reason = _first(_AIMS, read)
    if reason is None:
        standing = category is Category.PROCEDURAL or any(map(instructions.is_standing, read))
        # What people said to each other may begin with a command, too.
        quoted = category is Category.EPISODIC and source not in _WRITTEN
        if standing or (not quoted and any(map(instructions.is_order, read))):
            reason = _first(_AIMS_OF_ORDERS, read)
        if reason is None and source in OUTSIDE:
            written = source in _WRITTEN and any(map(instructions.is_addressed, read))
            reason = Reason.INSTRUCTION if standing or written else None
    return Trust(Status.QUARANTINED, reason) if reason else BELIEVED


def _first(aims: "_Aims", read: Sequence[str]) -> Reason | None:
    return next((reason for reason, holds in aims if any(map(holds, read))), None)


_Aims: TypeAlias = tuple[tuple[Reason, Callable[[str], bool]], ...]
#: What is quarantined whoever says it, and what is when it is an instruction.
_AIMS: Final[_Aims] = (
    (Reason.DIRECTIVE, instructions.overrides_directive),
    (Reason.OTHER_USERS, instructions.pries),
    (Reason.EXFILTRATION, instructions.carries_away),
)
_AIMS_OF_ORDERS: Final[_Aims] = (
    (Reason.DIRECTIVE, instructions.breaks_rules),
    (Reason.SECRETS, instructions.wants_secrets),
    (Reason.EXFILTRATION, instructions.sends_somewhere),
    (Reason.OTHER_USERS, instructions.names_others),
)
