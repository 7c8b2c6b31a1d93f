"""What is checked, of which asset, and how much of it is too much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    WARN = "warn"  # somebody should look at it
    ERROR = "error"  # something that was promised does not hold


class Unit(StrEnum):
    SHARE = "share"  # of what was looked at, in [0, 1]
    COUNT = "count"
    SECONDS = "seconds"


class Name(StrEnum):
    JUNK = "junk_rate"
    DUPLICATES = "duplicate_rate"
    PROVENANCE = "orphaned_provenance"
    EMBEDDINGS = "embeddings"
    REDACTION = "redaction"
    HOT_LISTS = "hot_lists"
    ARCHIVES = "archives"
    DEAD_LETTERS = "dead_letters"
    EXTRACTION = "extraction_freshness"
    ARCHIVING = "archive_freshness"
    USE = "use_freshness"


@dataclass(frozen=True)
class Check:
    name: Name
    asset: str
    title: str
    description: str
    unit: Unit
    threshold: float  # the largest value that passes, unless IBEX_CHECK_THRESHOLDS has another
    severity: Severity  # of a failure, unless IBEX_CHECK_SEVERITIES has another


@dataclass(frozen=True)
class Seen:
    """What looking at one organization's data found."""

    looked_at: int  # memories, lists, archives, sessions
    found: Mapping[str, int] = field(default_factory=dict)  # what is wrong: how many have it
    wrong: int = 0  # how many have anything of it
    examples: Sequence[str] = ()  # ids of the first of them
    seconds: float = 0.0  # of a check of time: how long the oldest has waited

    def value(self, unit: Unit) -> float:
        if unit is Unit.SECONDS:
            return self.seconds
        return self.wrong / max(1, self.looked_at) if unit is Unit.SHARE else float(self.wrong)


CHECKS: Final[Mapping[Name, Check]] = {
    check.name: check
    for check in (
        Check(
            Name.JUNK,
            "memories",
            "Junk",
            "Share of memories that say what the directive or the extraction's prompt says, what a "
            "request was given, or next to nothing.",
            Unit.SHARE,
            0.02,
            Severity.WARN,
        ),
        Check(
            Name.DUPLICATES,
            "memories",
            "Duplicates",
            "Share of memories that say what another one of the same agent and user says, by the "
            "rules that a write goes by.",
            Unit.SHARE,
            0.02,
            Severity.WARN,
        ),
        Check(
            Name.PROVENANCE,
            "memories",
            "Provenance",
            "Memories whose session, turns, statements or version is not there, or of which nobody "
            "knows what made them.",
            Unit.COUNT,
            0,
            Severity.ERROR,
        ),
        Check(
            Name.EMBEDDINGS,
            "memories",
            "Embeddings",
            "Memories without a vector of the model that is served, or with one that is not of "
            "unit length.",
            Unit.COUNT,
            0,
            Severity.ERROR,
        ),
        Check(
            Name.REDACTION,
            "memories",
            "Redaction",
            "Memories in which looking again finds personal data or secrets.",
            Unit.COUNT,
            0,
            Severity.ERROR,
        ),
        Check(
            Name.HOT_LISTS,
            "hot_memories",
            "Hot lists",
            "Hot lists in Redis that hold a memory which is not in force, hold it in another "
            "version, or lack one of the database's best.",
            Unit.COUNT,
            0,
            Severity.WARN,
        ),
        Check(
            Name.ARCHIVES,
            "session_archive",
            "Archives",
            "Archives that are not there, have other bytes than were recorded, or other "
            "checkpoints than the database.",
            Unit.COUNT,
            0,
            Severity.ERROR,
        ),
        Check(
            Name.DEAD_LETTERS,
            "completed_sessions",
            "Dead letters",
            "Sessions that failed too often and wait for an operator.",
            Unit.COUNT,
            0,
            Severity.WARN,
        ),
        Check(
            Name.EXTRACTION,
            "completed_sessions",
            "Extraction in time",
            "How long the completed session has waited that could be claimed first.",
            Unit.SECONDS,
            600,
            Severity.WARN,
        ),
        Check(
            Name.ARCHIVING,
            "session_archive",
            "Archiving in time",
            "How long the completed session has waited that is not archived.",
            Unit.SECONDS,
            600,
            Severity.WARN,
        ),
        Check(
            Name.USE,
            "memory_usefulness",
            "Answers looked at in time",
            "How long the answer has waited of which nobody knows what it rests on.",
            Unit.SECONDS,
            1800,
            Severity.WARN,
        ),
    )
}


@dataclass(frozen=True)
class Result:
    """Of one check in one organization."""

    check: Check
    seen: Seen
    threshold: float
    severity: Severity
    error: str | None = None  # the code of what kept it from looking

    @property
    def value(self) -> float:
        return self.seen.value(self.check.unit)

    @property
    def passed(self) -> bool:
        return self.error is None and self.value <= self.threshold
