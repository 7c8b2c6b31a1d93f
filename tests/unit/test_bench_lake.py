"""The benchmark of the lakehouse: what was said in it, and its figures."""

import pytest

from bench.lake.archiving import Archived
from bench.lake.exporting import Exported, peak_of
from bench.lake.report import Measured, figures
from bench.lake.scanning import QUERIES, Scan, Scanned, Year
from bench.lake.snapshots import Snapshotted
from bench.lake.talk import turns


def test_turns_are_different_and_always_the_same() -> None:
    made = turns(300)
    assert made == turns(300)
    assert len({turn.said for turn in made}) == 300
    assert all(turn.prompt_tokens > 0 and turn.completion_tokens > 0 for turn in made)


def test_a_day_is_sorted_whole_and_its_own() -> None:
    year = Year(turns(50), 365 * 40)
    first, second = (year.of(day) for day in year.days[:2])
    assert len(first) == 40
    assert first.column("date").unique().to_pylist() == [year.days[0]]
    assert first.sort_by([("agent_id", "ascending"), ("started_at", "ascending")]).equals(first)
    assert {one.date() for one in second.column("started_at").to_pylist()} == {year.days[1]}
    assert first.column("said").equals(year.of(year.days[0]).column("said"))
    assert set(first.column("turn_id").to_pylist()).isdisjoint(second.column("turn_id").to_pylist())
    found = [day for day in year.days if f"{day:%Y-%m}" == "2026-03"]
    assert len(found) == 31


def test_figures_take_the_slower_query_and_the_worst_format() -> None:
    def scan(way: str, files: int, mib: float, month: float, words: float, year: float) -> Scan:
        seconds = {"month": month, "month_words": words, "year": year}
        assert seconds.keys() == QUERIES.keys()
        return Scan(way, files, mib, seconds, 0.1)

    made = Measured(
        Archived(1000, 10_000, 20.0, {"p50": 10.0, "p95": 19.0, "p99": 19.8}, 500, 900, 8.0),
        Scanned(
            *(1_000_000, 80_000, 60.0, 10.0),
            (
                scan("daily", 365, 200.0, 1.0, 2.0, 6.0),
                scan("ndjson", 31, 80.0, 3.0, 2.5, 0.0),
                scan("compacted", 13, 100.0, 0.25, 0.5, 1.5),
            ),
        ),
        (Exported("csv", 100_000, 10.0, 90.0, 40.0), Exported("jsonl", 100_000, 5.0, 120.0, 60.0)),
        Snapshotted(100_000, 9.0, 90.0, 1.5, 50_000, 20.0, 8.0, 4.0),
    )
    found = figures(made)
    assert found["archive_seconds_p95"] == 19.0
    assert found["archive_sessions_per_s"] == 50.0
    assert found["scan_seconds_1m_turns"] == 0.5
    assert found["scan_speedup_ndjson"] == 6.0
    assert (found["compaction_files"], found["compaction_bytes"]) == (28.1, 2.0)
    assert (found["compaction_query_speedup"], found["compaction_month_speedup"]) == (4.0, 4.0)
    assert (found["export_rows_per_s"], found["export_peak_mb"]) == (10_000, 120.0)
    assert found["lake_bytes_per_turn"] == pytest.approx(105, abs=1)


def test_the_kernel_knows_the_most_that_was_in_memory() -> None:
    assert peak_of("VmPeak:\t  900 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 10 kB\n") == 2.0
    assert peak_of("") == 0.0
