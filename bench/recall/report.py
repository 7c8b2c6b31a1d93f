"""From phases to lines, figures and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.figures import Times, medians, shown, total
from bench.recall.course import INDEX, SQL, compared
from bench.recall.exact import Found
from bench.recall.load import PARTS
from bench.recall.phases import Cell, Kind, Phase

_SERVERS: Final = ("assembler", "embedder", "postgres", "redis")
_SHORT: Final = {1_000: "1k", 10_000: "10k", 100_000: "100k"}


@dataclass(frozen=True)
class Line:
    """One cell; every time the median over the rounds, every count their sum."""

    cell: Cell
    rps: float
    client_ms: Times
    parts_ms: dict[str, Times]
    requests: int
    answers: int
    errors: dict[str, int]
    refused: int
    degraded: dict[str, int]
    incomplete: int
    late: int
    empty: int
    cpu_ms_per_request: dict[str, float]
    memory_mib: dict[str, float]  # the highest seen

    def share(self, count: int) -> float:
        """Of the answers."""
        return round(count / max(1, self.answers), 4)


def summarize(phases: Sequence[Phase]) -> list[Line]:
    """In the order of the first round."""
    order = dict.fromkeys(phase.cell for phase in phases)
    return [_line(cell, [phase for phase in phases if phase.cell == cell]) for cell in order]


def _line(cell: Cell, own: Sequence[Phase]) -> Line:
    requests = sum(one.requests for one in own)
    processes = dict.fromkeys(name for one in own for name in one.cpu_s)
    return Line(
        cell=cell,
        rps=round(median(one.rps for one in own), 1),
        client_ms=medians(one.client_ms for one in own),
        parts_ms={
            part: medians(one.parts_ms.get(part, {}) for one in own)
            for part in PARTS
            if any(part in one.parts_ms for one in own)
        },
        requests=requests,
        answers=sum(one.answers for one in own),
        errors=total(one.errors for one in own),
        refused=sum(one.refused for one in own),
        degraded=total(one.degraded for one in own),
        incomplete=sum(one.incomplete for one in own),
        late=sum(one.late for one in own),
        empty=sum(one.empty for one in own),
        cpu_ms_per_request={
            name: round(sum(one.cpu_s.get(name, 0.0) for one in own) * 1000 / max(1, requests), 3)
            for name in processes
        },
        memory_mib={
            name: max(one.memory_mib.get(name, 0.0) for one in own)
            for name in dict.fromkeys(name for one in own for name in one.memory_mib)
        },
    )


def figures(lines: Sequence[Line]) -> dict[str, float | int | None]:
    """What is compared from one version to the next. None: it was not measured, or nothing came.

    Without more in the name: the index, 10,000 memories, the first request of a session, as the
    client sees it. `search` is the assembler's own time for the search, without the wait for the
    question's vector, at one request at a time.
    """
    by_cell = {line.cell: line for line in lines}
    sizes = sorted({line.cell.memories for line in lines})
    size = compared(sizes)

    def client(way: str, memories: int, clients: int, kind: Kind = "first") -> float | None:
        line = by_cell.get(Cell(way, memories, clients, kind))
        return line.client_ms.get("p95") if line else None

    def part(way: str, memories: int, clients: int, name: str) -> float | None:
        line = by_cell.get(Cell(way, memories, clients, "first"))
        return line.parts_ms.get(name, {}).get("p95") if line else None

    busy = by_cell.get(Cell(INDEX, size, 50, "first"))
    found: dict[str, float | int | None] = {
        "memories": size,
        **{f"assembly_p95_ms_{n}": client(INDEX, size, n) for n in (1, 10, 50)},
        **{f"later_assembly_p95_ms_{n}": client(INDEX, size, n, "later") for n in (1, 10, 50)},
        "assembly_server_p95_ms_50": part(INDEX, size, 50, "total"),
        "embed_p95_ms_50": part(INDEX, size, 50, "embed"),
    }
    for memories in sizes:
        short = _SHORT.get(memories, str(memories))
        if memories != size:
            found[f"assembly_p95_ms_50_{short}"] = client(INDEX, memories, 50)
        found[f"search_p95_ms_{short}"] = part(INDEX, memories, 1, "search")
    return {
        **found,
        "sql_search_p95_ms": part(SQL, size, 1, "search"),
        "sql_assembly_p95_ms_50": client(SQL, size, 50),
        "sql_incomplete_share_50": _incomplete(by_cell.get(Cell(SQL, size, 50, "first"))),
        "rps_50": busy.rps if busy else None,
        "cpu_ms_per_request_50": _cpu(busy) if busy else None,
        "incomplete_share_50": _incomplete(busy),
        "late_share_50": busy.share(busy.late) if busy else None,
        "refused_share_50": round(busy.refused / max(1, busy.requests), 4) if busy else None,
        "errors": sum(sum(line.errors.values()) for line in lines),
    }


def checked(found: Mapping[int, tuple[Found, Found]]) -> dict[str, float | None]:
    """Of the searches by themselves; `found`, by the number of memories: index and SQL."""
    size = compared(list(found))
    index, sql = (one.search_ms["p50"] for one in found[size])
    return {
        "index_vs_sql_ratio": round(sql / index, 1) if index else None,
        "recall_at_10": min(index.recall for index, _ in found.values()),
        "sql_recall_at_10": min(sql.recall for _, sql in found.values()),
    }


def _cpu(line: Line) -> float:
    """Milliseconds a request, of all servers."""
    return round(sum(line.cpu_ms_per_request.get(name, 0.0) for name in _SERVERS), 2)


def _incomplete(line: Line | None) -> float | None:
    return line.share(line.incomplete) if line else None


def show(lines: Sequence[Line], console: Console) -> None:
    console.print(_latency(lines))
    console.print(_parts(lines))
    console.print(_cost(lines))


def _name(line: Line) -> str:
    cell = line.cell
    return f"{cell.way} {cell.memories:,}, {cell.clients} at once, {cell.kind}"


def _table(title: str, names: Sequence[str], caption: str = "") -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", caption=caption)
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    return table


def _latency(lines: Sequence[Line]) -> Table:
    table = _table(
        "AssembleContext as the client sees it",
        ("answers/s", "ms p50 / p95 / p99", "late", "something missing", "refused", "errors"),
        "medians over the rounds; late: the proxy would not have waited; later: 2nd to 5th request",
    )
    for line in lines:
        missing = [f"{name} {line.share(count):.1%}" for name, count in line.degraded.items()]
        table.add_row(
            _name(line),
            f"{line.rps:.0f}",
            shown(line.client_ms),
            f"{line.share(line.late):.1%}",
            ", ".join(missing) or "none",
            f"{line.refused / max(1, line.requests):.1%}",
            ", ".join(f"{name} {count}" for name, count in line.errors.items()) or "none",
        )
    return table


def _parts(lines: Sequence[Line]) -> Table:
    caption = "ms p50 / p95 of what arrived; cold = embed (the wait for the vector) + search"
    table = _table("As the assembler says", PARTS, caption)
    for line in lines:
        times = (line.parts_ms.get(part) for part in PARTS)
        table.add_row(
            _name(line), *(f"{one['p50']:.1f} / {one['p95']:.1f}" if one else "-" for one in times)
        )
    return table


def _cost(lines: Sequence[Line]) -> Table:
    caption = "later: over all five requests of its sessions; load: the generator, not counted"
    table = _table("CPU ms a request · MiB", (*_SERVERS, "load"), caption)
    for line in lines:
        cpu, memory = line.cpu_ms_per_request, line.memory_mib
        table.add_row(
            _name(line),
            *(f"{cpu.get(name, 0):.2f} · {memory.get(name, 0):.0f}" for name in _SERVERS),
            f"{cpu.get('load', 0):.2f}",
        )
    return table
