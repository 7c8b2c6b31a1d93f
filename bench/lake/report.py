"""Tables and figures of `bench/lake`."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import print_figures
from bench.lake.archiving import Archived
from bench.lake.exporting import Exported
from bench.lake.scanning import Scan, Scanned
from bench.lake.snapshots import Snapshotted


@dataclass(frozen=True)
class Measured:
    archived: Archived
    scanned: Scanned
    exported: tuple[Exported, ...]
    snapshotted: Snapshotted


def show(made: Measured, console: Console) -> None:
    archived, scanned, taken = made.archived, made.scanned, made.snapshotted
    console.print(
        f"{archived.sessions:,} sessions archived in {archived.seconds:.1f} s, "
        f"{archived.sessions / archived.seconds:,.0f} a second; {archived.bytes_per_turn:,} bytes "
        f"a turn, {archived.raw_bytes_per_turn:,} as raw JSON; all read directly in "
        f"{archived.read_s:.1f} s",
        highlight=False,
    )
    table = Table(
        header_style="bold", title=f"{scanned.month:,} of {scanned.turns:,} turns, median seconds"
    )
    for name in ("", "files", "MiB", "a month's tokens", "its words", "the year", "opening"):
        table.add_column(name, justify="left" if not name else "right")
    for one in scanned.scans:
        table.add_row(
            one.way,
            f"{one.files:,}",
            f"{one.mib:,.1f}",
            *(_seconds(one.seconds.get(name)) for name in ("month", "month_words", "year")),
            _seconds(one.opened_s),
        )
    console.print(table)
    exports = Table(header_style="bold", title=f"Export of {made.exported[0].rows:,} memories")
    for name in ("format", "rows a second", "peak MiB", "file MiB"):
        exports.add_column(name, justify="left" if name == "format" else "right")
    for export in made.exported:
        exports.add_row(
            *(export.form, f"{export.rows_per_s:,}", f"{export.peak_mib:.0f}", f"{export.mib:.1f}")
        )
    console.print(exports)
    console.print(
        f"Snapshot of {taken.memories:,} memories: {taken.made_s:.1f} s, {taken.mib:.0f} MiB; "
        "one memory erased from two days "
        f"{taken.erased_s:.1f} s",
        highlight=False,
    )
    console.print(
        f"Search as of a day {taken.as_of_s:.1f} s; of {taken.compared:,} the duplicates "
        f"{taken.duplicates_s:.1f} s, the clusters {taken.clusters_s:.1f} s",
        highlight=False,
    )
    print_figures(figures(made), console)


def figures(made: Measured) -> dict[str, Any]:
    """Flat. `scan_seconds_1m_turns` is the slower of the month's two queries, compacted;
    `compaction_query_speedup` is of the query over the whole year; exports are the slowest and the
    largest of the formats."""
    archived, scanned, taken = made.archived, made.scanned, made.snapshotted
    daily, compacted, ndjson = (_scan(scanned, way) for way in ("daily", "compacted", "ndjson"))
    month = _month(compacted)
    return {
        "archive_seconds_p95": archived.after_s["p95"],
        "archive_sessions_per_s": round(archived.sessions / archived.seconds, 1),
        "archive_bytes_per_turn": archived.bytes_per_turn,
        "raw_json_bytes_per_turn": archived.raw_bytes_per_turn,
        "archives_read_seconds": archived.read_s,
        "scan_seconds_1m_turns": month,
        "scan_seconds_1m_turns_daily": _month(daily),
        "scan_seconds_ndjson": _month(ndjson),
        "scan_speedup_ndjson": round(_month(ndjson) / month, 1),
        "lake_bytes_per_turn": round(compacted.mib * 2**20 / scanned.turns),
        "ndjson_bytes_per_turn": round(ndjson.mib * 2**20 / scanned.month),
        "compaction_files": round(daily.files / compacted.files, 1),
        "compaction_bytes": round(daily.mib / compacted.mib, 2),
        "compaction_query_speedup": round(daily.seconds["year"] / compacted.seconds["year"], 2),
        "compaction_month_speedup": round(_month(daily) / month, 2),
        "export_rows_per_s": min(one.rows_per_s for one in made.exported),
        "export_peak_mb": max(one.peak_mib for one in made.exported),
        "snapshot_seconds": taken.made_s,
        "snapshot_mib": taken.mib,
        "as_of_search_seconds": taken.as_of_s,
        "duplicates_seconds": taken.duplicates_s,
        "erase_seconds": taken.erased_s,
    }


def _scan(scanned: Scanned, way: str) -> Scan:
    return next(one for one in scanned.scans if one.way == way)


def _month(scan: Scan) -> float:
    return max(scan.seconds["month"], scan.seconds["month_words"])


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
