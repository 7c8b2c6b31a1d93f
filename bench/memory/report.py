"""Tables and figures of `bench/memory`."""

from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.figures import shown
from bench.memory import writes
from bench.memory.approximate import Approximate
from bench.memory.lists import HotReads
from bench.memory.searching import Searched
from bench.memory.sizes import Sizes
from bench.memory.writes import Writes

_MILLION: Final = 1_000_000


@dataclass(frozen=True)
class Measured:
    """What came of a run, in the order in which it was measured."""

    searches: list[Searched] = field(default_factory=list)
    hot: list[HotReads] = field(default_factory=list)
    sizes: list[Sizes] = field(default_factory=list)
    approximate: list[Approximate] = field(default_factory=list)
    writes: list[Writes] = field(default_factory=list)


def show(made: Measured, console: Console) -> None:
    table = Table(header_style="bold", title="Searches, ms p50 / p95 / p99")
    for name in ("", "memories", "agents", "searches", "ms", "recall@10", "late", "index"):
        table.add_column(name, justify="left" if not name else "right")
    for one in made.searches:
        table.add_row(
            one.way,
            f"{one.memories:,}",
            f"{one.agents:,}",
            f"{one.searches:,}",
            shown(one.search_ms),
            "-" if one.recall is None else f"{one.recall:.1%} of {one.checked}",
            f"{one.late:,}",
            "-"
            if one.mib is None
            else f"{one.mib:,.0f} MiB" + ("" if one.load_s is None else f", {one.load_s:.1f} s"),
        )
    console.print(table)
    for written in made.writes:
        writes.show(written, console)
    for listed in made.hot:
        console.print(
            f"Hot list of {listed.listed} out of {listed.memories:,}: read "
            f"{shown(listed.read_ms)} ms, ten at once {shown(listed.read_ms_at_once)} ms, "
            f"rebuilt in {shown(listed.rebuild_ms)} ms",
            highlight=False,
        )
    for size in made.sizes:
        indexes = ", ".join(f"{name} {mib:,.1f}" for name, mib in size.indexes_mib.items())
        console.print(
            f"{size.memories:,} memories: table {size.table_mib:,.1f} MiB; {indexes} MiB; "
            f"{size.bytes_per_memory:,} bytes a memory",
            highlight=False,
        )
    for index in made.approximate:
        console.print(
            f"{index.kind} over {index.memories:,} memories of {index.agents:,} agents: recall@10 "
            f"{index.recall:.1%} in {shown(index.search_ms)} ms (exact {shown(index.exact_ms)}), "
            f"built in {index.build_s:.0f} s, {index.mib:,.0f} MiB",
            highlight=False,
        )


def figures(made: Measured) -> dict[str, Any]:
    """Flat. Writes are those into the smallest agent; searches of one agent by the index, `sql_…`
    by PostgreSQL alone; those of many agents as served, and checked in PostgreSQL, which is asked
    until an agent's index is loaded."""
    found: dict[str, Any] = {}
    for written in made.writes:
        added = writes.figures(written)
        own = {f"{name}_{short(written.memories)}": value for name, value in added.items()}
        found |= own if found else added
    many = {short(one.memories) for one in made.searches if one.way == "served"}
    for one in made.searches:
        size = short(one.memories)
        prefix = "sql_" if one.way == "sql" else ""
        found[f"{prefix}search_p95_ms_{size}"] = one.search_ms.get("p95")
        if one.recall is not None:
            found[f"{'' if size in many else prefix}recall_at_10_{size}"] = one.recall
        if one.way == "index":
            found[f"index_load_s_{size}"] = one.load_s
            found[f"index_mib_{size}"] = one.mib
    for name, times in (
        ("hot_read_p99_ms", [one.read_ms["p99"] for one in made.hot]),
        ("hot_read_at_once_p99_ms", [one.read_ms_at_once["p99"] for one in made.hot]),
        ("hot_rebuild_p95_ms", [one.rebuild_ms["p95"] for one in made.hot]),
    ):
        found[name] = max(times, default=None)
    for size_of in made.sizes:
        found[f"bytes_per_memory_{short(size_of.memories)}"] = size_of.bytes_per_memory
    return found


def short(count: int) -> str:
    """`10k`, `1m`."""
    if count % _MILLION == 0:
        return f"{count // _MILLION}m"
    return f"{count // 1_000}k" if count % 1_000 == 0 else str(count)
