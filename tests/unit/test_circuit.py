"""When a provider is left alone, and when it is tried again."""

from hypothesis import given
from hypothesis import strategies as st

from ibex.circuit import Circuit, State


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Circuit:
    circuit = Circuit(3, 10.0, clock)
    for _ in range(3):
        assert circuit.admit()
        circuit.failed()
    return circuit


def state(circuit: Circuit) -> str:
    return circuit.state


def test_failures_in_a_row_open_it() -> None:
    circuit = Circuit(3, 10.0, Clock())
    for outcome in (circuit.failed, circuit.failed, circuit.succeeded, circuit.failed) * 3:
        assert circuit.admit()
        outcome()
        if outcome == circuit.failed:
            circuit.succeeded()
    assert state(circuit) == State.CLOSED
    assert state(opened(Clock())) == State.OPEN


def test_after_the_pause_one_request_probes() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now = 9.0
    assert not circuit.admit()
    assert circuit.left == 1.0
    clock.now = 10.0
    assert state(circuit) == State.HALF_OPEN
    assert circuit.admit()
    assert not circuit.admit()
    circuit.failed()
    assert state(circuit) == State.OPEN
    assert circuit.left == 10.0
    clock.now = 20.0
    assert circuit.admit()
    circuit.succeeded()
    assert state(circuit) == State.CLOSED
    assert circuit.admit()
    assert circuit.admit()


def test_a_probe_whose_client_went_away_leaves_room_for_another() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now = 10.0
    assert circuit.admit()
    circuit.undecided()
    assert circuit.admit()


@given(st.lists(st.sampled_from(["failed", "succeeded", "undecided", "wait"]), max_size=60))
def test_it_always_comes_back(outcomes: list[str]) -> None:
    clock = Clock()
    circuit = Circuit(2, 10.0, clock)
    for outcome in outcomes:
        if outcome == "wait":
            clock.now += 10.0
        elif circuit.admit():
            getattr(circuit, outcome)()
    clock.now += 10.0
    assert circuit.admit()
    circuit.succeeded()
    assert state(circuit) == State.CLOSED
