"""The pipeline's benchmark: its sayings are new each time, its figures are what they say."""

from bench.pipeline.burst import Burst, Bursts
from bench.pipeline.report import Archives, Round, figures
from bench.pipeline.requests import Answered
from ibex.ids import new_id
from ibex.smoke import SmokeResult
from ibex.stores.postgres import Database


def result(seconds: float, launch: float) -> SmokeResult:
    parts = {"until_sensor_s": 0.1, "run_launch_s": launch}
    return SmokeResult(seconds, 14, 6, False, True, 10, "ibex-sandbox", parts)


def round_of(calm: float, meanwhile: float, seconds: float) -> Round:
    def answered(p99: float) -> Answered:
        return Answered(100, 0, 1, {"p50": 10.0, "p95": 20.0, "p99": p99})

    burst = Burst(200, 1.0, seconds, seconds + 1, 2000, 201)
    return Round(answered(calm), burst, answered(meanwhile), {}, {})


def test_figures_are_medians_and_sums() -> None:
    rounds = [round_of(20, 30, 12.0), round_of(20, 22, 16.0), round_of(40, 80, 14.0)]
    found = figures(
        [result(1.0, 0.5), result(9.0, 0.7), result(2.0, 0.6)],
        rounds,
        Archives([1.0, 2.0, 9.0], [1.0, 3.0]),
    )
    assert found["ten_turn_seconds"] == 2.0
    assert found["ten_turn_seconds_max"] == 9.0
    assert found["ten_turn_run_launch_s"] == 0.6
    assert found["burst200_seconds"] == 14.0
    assert found["hotpath_p99_ratio_during_burst"] == 1.5
    assert found["archive_seconds"] == 2.0
    assert found["burst_archive_p95_seconds"] == 2.9
    assert found["burst_tries"] == 603
    assert found["without_memories_during_burst"] == 3
    assert found["requests"] == 600


def test_no_burst_says_what_another_said() -> None:
    bursts = Bursts(Database.__new__(Database), new_id(), new_id())
    first, second = bursts._sayings(200), bursts._sayings(200)
    assert len({*first, *second}) == 400
