"""The benchmark of the assembler measures what it says: its load, its cells and its sums."""

from itertools import pairwise

import grpc
import grpc.aio
import numpy as np
import orjson

from bench.embeddings import around
from bench.figures import NAMES
from bench.recall.course import CLIENTS, INDEX, SQL, cells
from bench.recall.exact import Found, share_found
from bench.recall.load import Load, Outcome, Plan, part_times, plain
from bench.recall.phases import Cell, Kind, Phase, phase_of
from bench.recall.report import checked, figures, summarize
from bench.stack import free_ports
from ibex.rpc import AssembleContextRequest, AssembleContextResponse, Timings
from ibex.rpc.clients import BUSY, CONTEXT_SERVICE

ASKED: list[AssembleContextRequest] = []


async def assemble(
    request: AssembleContextRequest, context: grpc.aio.ServicerContext[object, object]
) -> AssembleContextResponse:
    ASKED.append(request)
    if len(ASKED) == 3:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone for a moment")
    if len(ASKED) == 4:
        await context.abort(grpc.StatusCode.UNAVAILABLE, BUSY)
    return AssembleContextResponse(
        memories=1 if request.session_turns else 0,
        degraded=["hot"] if request.session_turns else [],
        timings=Timings(total=9.0, embed=2.0, cold=5.0, hot=1.0, directive=0.5, pinned=0.0),
    )


async def asked(clients: int, turns: int) -> tuple[Outcome, list[AssembleContextRequest]]:
    ASKED.clear()
    (port,) = free_ports(1)
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        assemble,
        request_deserializer=AssembleContextRequest.parse,
        response_serializer=bytes,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(CONTEXT_SERVICE, {"AssembleContext": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    plan = Plan(
        target=f"127.0.0.1:{port}",
        org_id="o",
        agent_id="a",
        turns=turns,
        clients=clients,
        seconds=0.4,
        first_question=0,
        late_ms=1e6,
    )
    try:
        return await Load(plan).run(), list(ASKED)
    finally:
        await server.stop(None)


async def test_a_session_goes_on_with_what_was_said() -> None:
    outcome, requests = await asked(clients=1, turns=3)
    sessions: dict[str, list[AssembleContextRequest]] = {}
    for request in requests:
        sessions.setdefault(request.session_id, []).append(request)
    whole = [turns for turns in sessions.values() if len(turns) == 3]
    assert whole
    for turns in sessions.values():
        assert [one.session_turns for one in turns] == list(range(len(turns)))
        assert [len(one.messages) for one in turns] == [2, 4, 6][: len(turns)]
        for earlier, later in pairwise(turns):
            assert later.messages[: len(earlier.messages)] == earlier.messages
    questions = [request.messages[-1].text for request in requests]
    assert len(set(questions)) == len(questions)
    anchors = {one.anchor for one in whole[0][-1].messages if one.role == "user"}
    assert len(anchors) == 3
    assert all(anchors)
    # The first requests of sessions are kept apart from the later ones, errors from both.
    assert outcome.sent == len(requests)
    assert (outcome.errors, outcome.refused) == ({"unavailable": 1}, 1)
    first = [one for one in requests if one.session_turns == 0]
    assert len(outcome.first.total) == outcome.first.empty == len(first) - 1
    assert len(outcome.later.total) == outcome.sent - len(first) - 1
    assert outcome.later.degraded == {"hot": outcome.later.incomplete}
    assert outcome.later.incomplete == len(outcome.later.total)


async def test_what_the_generator_writes_makes_a_phase() -> None:
    outcome, _ = await asked(clients=4, turns=1)
    written = orjson.loads(orjson.dumps(plain(outcome)))
    phase = phase_of(Cell(INDEX, 10, 4, "first"), 0, written, {"assembler": 1.0}, {})
    assert phase.requests == outcome.sent
    assert (phase.answers, phase.refused) == (outcome.sent - 2, 1)
    assert phase.parts_ms["search"]["p50"] == 3.0
    assert "pinned" not in phase.parts_ms  # nothing of it arrived
    assert phase_of(Cell(INDEX, 10, 4, "later"), 0, written, {}, {}).client_ms == {}


def test_the_search_is_told_only_when_it_waited_for_the_vector() -> None:
    timings = Timings(total=30.0, cold=26.0, embed=24.0, hot=1.0)
    answer = AssembleContextResponse(timings=timings)
    assert part_times(answer)["search"] == 2.0
    late = AssembleContextResponse(timings=Timings(total=30.0, cold=26.0, embed=28.0))
    assert "search" not in part_times(late)
    missing = AssembleContextResponse(timings=timings, degraded=["embed"])
    assert set(part_times(missing)) == {"total", "cold", "hot"}


def test_sql_is_asked_right_after_the_index() -> None:
    order = cells([1_000, 10_000, 100_000])
    assert len(order) == len(set(order)) == 3 * 3 * 2 + 3
    for place, cell in enumerate(order):
        if cell.way == SQL:
            assert order[place - 1] == Cell(INDEX, 10_000, cell.clients, "first")
    # Without that agent it is compared for the largest.
    assert {cell.memories for cell in cells([5, 500]) if cell.way == SQL} == {500}


def phase(
    cell: Cell, number: int, p95: float, search: float, *, late: int = 0, incomplete: int = 0
) -> Phase:
    return Phase(
        cell=cell,
        round=number,
        requests=120,
        answers=100,
        rps=100.0 + number,
        errors={"unavailable": 1} if number == 2 else {},
        refused=6,
        client_ms=dict.fromkeys(NAMES, p95),
        parts_ms={"search": dict.fromkeys(NAMES, search), "total": dict.fromkeys(NAMES, p95 - 1)},
        degraded={"cold": incomplete} if incomplete else {},
        incomplete=incomplete,
        late=late,
        empty=0,
        cpu_s={"assembler": 0.6, "postgres": 0.24, "load": 5.0},
        memory_mib={"assembler": 100.0 + number},
    )


def test_figures_are_medians_over_the_rounds() -> None:
    phases = []
    for number, factor in enumerate((1.0, 9.0, 1.5)):  # the second round was a busy one
        for size in (1_000, 10_000):
            for clients in CLIENTS:
                kinds: tuple[Kind, ...] = ("first", "later")
                for kind in kinds:
                    cell = Cell(INDEX, size, clients, kind)
                    p95 = clients * factor + (100 if kind == "later" else 0)
                    phases.append(phase(cell, number, p95, 2 * factor, late=3, incomplete=1))
        phases.append(phase(Cell(SQL, 10_000, 1, "first"), number, 40 * factor, 20 * factor))
    lines = summarize(phases)
    found = figures(lines)
    assert found["assembly_p95_ms_1"] == 1.5
    assert found["assembly_p95_ms_50"] == found["assembly_p95_ms_50_1k"] == 75.0
    assert found["later_assembly_p95_ms_10"] == 115.0
    assert found["assembly_server_p95_ms_50"] == 74.0
    assert found["search_p95_ms_10k"] == found["search_p95_ms_1k"] == 3.0
    assert found["sql_search_p95_ms"] == 30.0
    assert found["late_share_50"] == 0.03
    assert found["refused_share_50"] == 0.05
    assert found["incomplete_share_50"] == 0.01
    assert found["cpu_ms_per_request_50"] == 7.0  # of the servers; the generator is not one
    assert found["sql_assembly_p95_ms_50"] is None  # it was not asked that
    assert found["errors"] == 13
    line = next(line for line in lines if line.cell == Cell(INDEX, 10_000, 50, "later"))
    assert (line.rps, line.answers, line.memory_mib) == (101.0, 300, {"assembler": 102.0})


def test_the_worst_recall_and_the_ratio_of_the_compared_agent_are_told() -> None:
    def found(recall: float, p50: float) -> Found:
        return Found(recall, {"p50": p50, "p95": 9 * p50, "p99": 9 * p50})

    sizes = {
        1_000: (found(0.9, 1.0), found(1.0, 1.0)),
        10_000: (found(1.0, 0.5), found(0.8, 4.0)),
        100_000: (found(1.0, 1.0), found(1.0, 90.0)),
    }
    assert checked(sizes) == {
        "index_vs_sql_ratio": 8.0,
        "recall_at_10": 0.9,
        "sql_recall_at_10": 0.8,
    }


def test_made_vectors_are_near_real_ones() -> None:
    real = np.eye(384, dtype=np.float32)[:7]
    made = around(real, 500)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    nearest = (made @ real.T).max(axis=1)
    assert 0.75 < float(nearest.mean()) < 0.85
    assert np.array_equal(made, around(real, 500))
    assert around(real, 0).shape == (0, 384)


def test_a_missed_neighbour_is_noticed() -> None:
    nearest = np.array([0.9, 0.8, 0.7, 0.6])
    assert share_found(np.array([0.1, 0.6, 0.7, 0.8, 0.9]), nearest) == 1.0
    assert share_found(np.array([0.9, 0.8, 0.7, 0.5]), nearest) == 0.75
    assert share_found(np.array([0.9, 0.8, 0.8, 0.7]), nearest) == 1.0  # another at that distance
    assert share_found(np.array([0.9]), nearest) == 0.25
