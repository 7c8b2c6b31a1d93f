"""From hits to lines, tables and figures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.figures import Times, percentiles
from bench.retrieval.asking import BUDGETS, RANKS, Hit

SERVED: Final = "as served"


@dataclass(frozen=True)
class Line:
    """Means over the questions; each in [0, 1]."""

    name: str
    questions: int
    at: Mapping[int, float]
    within: Mapping[int, float]
    sessions: float


def line_of(name: str, hits: Sequence[Hit]) -> Line:
    return Line(
        name=name,
        questions=len(hits),
        at={rank: _mean(one.at[rank] for one in hits) for rank in RANKS},
        within={budget: _mean(one.within[budget] for one in hits) for budget in BUDGETS},
        sessions=_mean(one.sessions for one in hits),
    )


def by_category(hits: Sequence[Hit]) -> list[Line]:
    names = sorted({one.category for one in hits})
    return [line_of(name, [one for one in hits if one.category == name]) for name in names]


def times(hits: Sequence[Hit]) -> dict[str, Times]:
    """Milliseconds: of the whole search with the question's embedding, and of the index alone."""
    return {
        "search": percentiles([one.search_ms for one in hits]),
        "index": percentiles([one.index_ms for one in hits]),
    }


def figures(served: Line, took: Mapping[str, Times]) -> dict[str, float]:
    return {
        "recall_at_10": served.at[10],
        "recall_in_1000_tokens": served.within[1_000],
        "session_recall_at_10": served.sessions,
        "search_p95_ms": took["search"]["p95"],
        "search_p50_ms": took["search"]["p50"],
        "index_p95_ms": took["index"]["p95"],
        **{f"recall_at_{rank}": served.at[rank] for rank in RANKS if rank != 10},
        **{
            f"recall_in_{budget}_tokens": served.within[budget]
            for budget in BUDGETS
            if budget != 1_000
        },
    }


def show(title: str, lines: Sequence[Line], console: Console) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in (
        "questions",
        *(f"R@{rank}" for rank in RANKS),
        *(f"{budget:,} tokens" for budget in BUDGETS),
        "sessions@10",
    ):
        table.add_column(heading, justify="right")
    for line in lines:
        shares = (*line.at.values(), *line.within.values(), line.sessions)
        table.add_row(line.name, str(line.questions), *(f"{share:.3f}" for share in shares))
    console.print(table)


def _mean(values: Iterable[float]) -> float:
    return round(fmean(values), 4)
