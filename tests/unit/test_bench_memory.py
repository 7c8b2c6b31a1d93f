"""The benchmark of the memory engine: what it counts as found, and its figures."""

import numpy as np
import pytest

from bench.embed.checks import checks
from bench.embeddings import around, beside
from bench.memory.lists import HotReads
from bench.memory.report import Measured, figures, short
from bench.memory.searching import Searched, share_of
from bench.memory.sizes import Sizes
from bench.memory.writes import Writes

TIMES = {"p50": 1.0, "p95": 2.0, "p99": 3.0}


def test_what_is_found_is_counted_by_rank_and_score() -> None:
    exact = [number / 20 for number in range(20)]
    best = exact[10:]
    assert share_of(exact, best) == 1.0
    assert share_of(exact, [*best[1:], 0.0]) == share_of(exact, [*best[:-1], 0.0]) == 0.9
    assert share_of(exact, exact[5:15]) == 0.5
    assert share_of([0.5, 0.5, 0.4], [0.5, 0.4]) == pytest.approx(2 / 3)  # one is not two
    assert share_of(exact, [one + 1e-6 for one in best]) == 1.0
    assert share_of(exact, []) == 0.0
    assert share_of([0.5], [0.5, 0.4]) == 1.0
    assert share_of([], []) == 1.0


def test_made_vectors_are_near_their_own_and_always_the_same() -> None:
    rows = np.eye(384, dtype=np.float32)[:50]
    near = beside(rows, 7)
    np.testing.assert_allclose(np.linalg.norm(near, axis=1), 1, atol=1e-5)
    assert np.all(np.argmax(near @ rows.T, axis=1) == np.arange(50))
    np.testing.assert_array_equal(near, beside(rows, 7))
    assert not np.array_equal(near, beside(rows, 8))
    assert around(rows, 120).shape == (120, 384)


def searched(way: str, memories: int, agents: int, p95: float, recall: float | None) -> Searched:
    times = {**TIMES, "p95": p95}
    loaded = (0.5, 30.0) if way == "index" else (None, None)
    return Searched(way, memories, agents, 100, times, recall, 10, 0, *loaded)


def test_the_figures_say_what_was_measured_where() -> None:
    def written(memories: int, p95: float) -> Writes:
        return Writes(memories, 9, {**TIMES, "p95": p95}, TIMES, TIMES, TIMES, 9)

    made = Measured(
        searches=[
            searched("index", 100_000, 1, 4.0, 1.0),
            searched("sql", 100_000, 1, 60.0, 0.9),
            searched("sql", 1_000_000, 1_000, 5.0, 0.98),
            searched("served", 1_000_000, 1_000, 6.0, None),
        ],
        hot=[
            HotReads(10, 10, TIMES, TIMES, TIMES),
            HotReads(20, 20, {**TIMES, "p99": 4.0}, TIMES, TIMES),
        ],
        sizes=[Sizes(1_000_000, 1.0, {}, 2_500)],
        writes=[written(10_000, 7.0), written(100_000, 9.0)],
    )
    found = figures(made)
    assert {
        "write_p95_ms": 7.0,
        "write_p95_ms_100k": 9.0,
        "search_p95_ms_100k": 4.0,
        "recall_at_10_100k": 1.0,
        "sql_search_p95_ms_100k": 60.0,
        "sql_recall_at_10_100k": 0.9,
        "search_p95_ms_1m": 6.0,
        "sql_search_p95_ms_1m": 5.0,
        "recall_at_10_1m": 0.98,
        "index_load_s_100k": 0.5,
        "hot_read_p99_ms": 4.0,
        "bytes_per_memory_1m": 2_500,
    }.items() <= found.items()
    assert figures(Measured())["hot_read_p99_ms"] is None


@pytest.mark.parametrize(("count", "name"), [(500, "500"), (20_000, "20k"), (2_000_000, "2m")])
def test_sizes_have_short_names(count: int, name: str) -> None:
    assert short(count) == name


def test_what_a_model_has_to_keep_is_checked() -> None:
    def missed(*measured: float | None) -> set[str]:
        mean, least, points, rate = measured
        assert mean is not None
        assert least is not None
        assert rate is not None
        found = checks(mean, least, points, rate)
        return {one.what.partition(" ")[0] for one in found if not one.passed}

    assert missed(0.995, 0.98, -0.4, 0.85) == set()
    assert missed(0.985, 0.98, None, 0.85) == {"mean"}
    assert missed(0.995, 0.96, 0.4, 0.85) == {"least"}
    assert missed(0.995, 0.98, -0.6, 0.85) == {"recall,"}
    assert missed(0.995, 0.98, 0.6, 0.75) == {"recall,", "cache"}
