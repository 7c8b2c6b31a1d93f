"""What a verdict makes of two memories in force that no rule could judge."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from ibex.memory.conflicts import Resolution, Statement
from ibex.memory.model import Source
from ibex.memory.writing.planning import may_end

EdgeKind = Literal["supersedes", "contradicts", "supports", "related"]


@dataclass(frozen=True)
class Held:
    """A memory in force as it was when it was judged."""

    id: UUID
    version: int
    statement: Statement
    source: Source
    last_said: datetime  # the latest time from which one of its statements holds


@dataclass(frozen=True)
class OpenPair:
    edge_id: UUID
    older: Held
    newer: Held


@dataclass(frozen=True)
class Settlement:
    """The edge from the newer to the older; and whose validity ends when the newer begins, in whose
    favour."""

    kind: EdgeKind
    ended: Held | None = None
    by: Held | None = None


def settlement(pair: OpenPair, resolution: Resolution) -> Settlement:
    """A memory ends only where its last statement was said before the newer memory begins, and by
    nothing that is believed less. A duplicate never was: its validity is empty."""
    older, newer = pair.older, pair.newer
    replaces = may_end(older.source, newer.source) and older.last_said < newer.statement.valid_from
    match resolution:
        case Resolution.DUPLICATE if may_end(newer.source, older.source):
            return Settlement("supports", newer, older)
        case Resolution.DUPLICATE | Resolution.MERGE | Resolution.SUPERSEDE if replaces:
            return Settlement("supersedes", older, newer)
        case Resolution.SUPERSEDE | Resolution.CONTRADICT:
            return Settlement("contradicts")
        case _:
            return Settlement("related")
