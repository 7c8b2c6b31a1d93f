"""From what was observed to figures and a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from rich.console import Console
from rich.table import Table

from bench.usefulness.scenes import Kind
from bench.usefulness.season import Judged, Season, in_use
from ibex.memory.usefulness import RESTS


@dataclass(frozen=True)
class Counted:
    """Pairs of an answer and a memory that its request was given."""

    resting: int  # the answer rests on the memory
    found: int  # of those, said to
    others: int
    mistaken: int  # of those, said to


def counted(judged: Sequence[Judged], kind: Kind | None = None) -> Counted:
    """`kind` of the answers; None: all."""
    own = [one for one in judged if kind in (None, one.kind)]
    resting = [one for one in own if one.rests]
    others = [one for one in own if not one.rests]
    return Counted(
        resting=len(resting),
        found=sum(one.support >= RESTS for one in resting),
        others=len(others),
        mistaken=sum(one.support >= RESTS for one in others),
    )


def figures(season: Season) -> dict[str, float | int | None]:
    """`precision`: of the pairs in which the answer is said to rest on the memory, the share in
    which it does. `in_order`: of all pairs of a memory in use and one that is not, the share in
    which the first is more useful at the end."""
    total = counted(season.judged)
    used = [one for place, one in enumerate(season.usefulness) if in_use(place)]
    idle = [one for place, one in enumerate(season.usefulness) if not in_use(place)]
    return {
        "precision": _share(total.found, total.found + total.mistaken),
        **{
            f"recall_{kind}": _share(one.found, one.resting)
            for kind in Kind
            if kind.rests and (one := counted(season.judged, kind))
        },
        "mistaken_share": _share(total.mistaken, total.others),
        "usefulness_in_use": round(mean(used), 3),
        "usefulness_idle": round(mean(idle), 3),
        "in_order": _share(sum(a > b for a in used for b in idle), len(used) * len(idle)),
        "answers": season.answers,
        "answers_per_second": round(season.answers / season.seconds, 1),
    }


def show(judged: Sequence[Judged], console: Console) -> None:
    table = Table("answers", "rest on a memory", "found", "other memories", "mistaken")
    for kind in Kind:
        one = counted(judged, kind)
        table.add_row(kind, *map(str, (one.resting, one.found, one.others, one.mistaken)))
    console.print(table)


def _share(part: int, whole: int) -> float | None:
    """None: there was nothing to find."""
    return round(part / whole, 4) if whole else None
