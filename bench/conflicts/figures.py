"""How often verdicts are right."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ibex.memory.conflicts import Resolution

#: Resolutions that come to the same for whoever reads the memories: one of two, one after the
#: other, both.
GROUPS: Final = {
    "duplicate": frozenset({Resolution.DUPLICATE, Resolution.MERGE}),
    "conflict": frozenset({Resolution.SUPERSEDE, Resolution.CONTRADICT}),
    "keep": frozenset({Resolution.KEEP, Resolution.UNDECIDED}),
}


@dataclass(frozen=True)
class Outcome:
    kind: str
    expected: Resolution
    judged: Resolution


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Shares in [0, 1].

    `false_merge_rate`: of the verdicts that make one memory of two, those that should not have.
    `wrong_supersession_rate`: of those that supersede, those that should not have.
    """
    same = GROUPS["duplicate"]
    merged = [one for one in outcomes if one.judged in same]
    superseded = [one for one in outcomes if one.judged is Resolution.SUPERSEDE]
    return {
        "false_merge_rate": _share([one.expected not in same for one in merged]),
        "wrong_supersession_rate": _share(
            [one.expected is not Resolution.SUPERSEDE for one in superseded]
        ),
        "duplicate_recall": scores(outcomes)["duplicate"]["recall"],
        "conflict_recall": scores(outcomes)["conflict"]["recall"],
        "undecided": _share([one.judged is Resolution.UNDECIDED for one in outcomes]),
        "pairs": len(outcomes),
    }


def scores(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Precision and recall by group; what is undecided is kept."""
    return {
        name: {
            "precision": _share([one.expected in group for one in outcomes if one.judged in group]),
            "recall": _share([one.judged in group for one in outcomes if one.expected in group]),
        }
        for name, group in GROUPS.items()
    }


def right_by_kind(outcomes: Sequence[Outcome]) -> dict[str, tuple[int, int, int]]:
    """How many of each kind came into the right group, stayed undecided, and were there."""
    right, undecided, all_of = Counter[str](), Counter[str](), Counter[str]()
    for one in outcomes:
        all_of[one.kind] += 1
        undecided[one.kind] += one.judged is Resolution.UNDECIDED
        right[one.kind] += _group(one.judged) == _group(one.expected)
    return {kind: (right[kind], undecided[kind], all_of[kind]) for kind in sorted(all_of)}


def _group(resolution: Resolution) -> str:
    return next(name for name, group in GROUPS.items() if resolution in group)


def _share(hits: Sequence[bool]) -> float:
    return round(sum(hits) / len(hits), 4) if hits else 0.0
