"""Tables and figures of `bench/memory`."""

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.figures import shown
from bench.memory.lists import HotReads
from bench.memory.searching import Searched
from bench.memory.sizes import Sizes

_MILLION: Final = 1_000_000


def show(
    searched: Sequence[Searched],
    lists: Sequence[HotReads],
    taken: Sequence[Sizes],
    console: Console,
) -> None:
    table = Table(header_style="bold", title="Searches, ms p50 / p95 / p99")
    for name in ("", "memories", "agents", "searches", "ms", "recall@10", "late", "index"):
        table.add_column(name, justify="left" if not name else "right")
    for one in searched:
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
    for listed in lists:
        console.print(
            f"Hot list of {listed.listed} out of {listed.memories:,}: read "
            f"{shown(listed.read_ms)} ms, ten at once {shown(listed.read_ms_at_once)} ms, "
            f"rebuilt in {shown(listed.rebuild_ms)} ms",
            highlight=False,
        )
    for size in taken:
        indexes = ", ".join(f"{name} {mib:,.1f}" for name, mib in size.indexes_mib.items())
        console.print(
            f"{size.memories:,} memories: table {size.table_mib:,.1f} MiB; {indexes} MiB; "
            f"{size.bytes_per_memory:,} bytes a memory",
            highlight=False,
        )


def figures(
    searched: Sequence[Searched], lists: Sequence[HotReads], taken: Sequence[Sizes]
) -> dict[str, Any]:
    """Flat. One agent's by the index, `sql_…` by PostgreSQL; those of many agents as served, and
    checked in PostgreSQL, which is asked until an agent's index is loaded."""
    found: dict[str, Any] = {}
    for one in searched:
        prefix = "sql_" if one.way == "sql" else ""
        size = short(one.memories)
        found[f"{prefix}search_p95_ms_{size}"] = one.search_ms.get("p95")
        if one.recall is not None:
            found[f"{prefix}recall_at_10_{size}"] = one.recall
        if one.load_s is not None:
            found[f"index_load_s_{size}"] = one.load_s
            found[f"index_mib_{size}"] = one.mib
    for one in searched:  # as served, most of many agents are asked in PostgreSQL
        size = short(one.memories)
        if one.way == "served" and f"recall_at_10_{size}" not in found:
            found[f"recall_at_10_{size}"] = found.get(f"sql_recall_at_10_{size}")
    if lists:
        found["hot_read_p99_ms"] = max(one.read_ms["p99"] for one in lists)
        found["hot_read_at_once_p99_ms"] = max(one.read_ms_at_once["p99"] for one in lists)
        found["hot_rebuild_p95_ms"] = max(one.rebuild_ms["p95"] for one in lists)
    for size_of in taken:
        found[f"bytes_per_memory_{short(size_of.memories)}"] = size_of.bytes_per_memory
    return found


def short(count: int) -> str:
    """`10k`, `1m`."""
    if count % _MILLION == 0:
        return f"{count // _MILLION}m"
    return f"{count // 1_000}k" if count % 1_000 == 0 else str(count)
