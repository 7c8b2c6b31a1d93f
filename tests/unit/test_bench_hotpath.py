"""The benchmark measures what it says: its load generator, its mock and its sums."""

import asyncio
from datetime import UTC, datetime
from itertools import islice

import uvloop

from bench import corpus
from bench.figures import percentiles
from bench.hotpath import mock
from bench.hotpath.comparison import DIRECT, MEMORY_OFF, MEMORY_ON
from bench.hotpath.load import Load, Outcome, Plan
from bench.hotpath.phases import Kind, Loop, Phase
from bench.hotpath.report import figures, summarize
from bench.hotpath.soak import Sample, growth
from bench.stack import free_ports


def plan(port: int, *, stream: bool | None = False, rate: float = 0, seconds: float = 0.2) -> Plan:
    return Plan(
        url=f"http://127.0.0.1:{port}/v1",
        headers={},
        model="m",
        stream=stream,
        clients=4,
        rate=rate,
        seconds=seconds,
        first_question=0,
        seed=1,
    )


def times(value: float) -> dict[str, float]:
    return {"p50": value, "p95": value + 1, "p99": value + 2}


def phase(
    target: str,
    number: int,
    total: dict[str, float],
    *,
    loop: Loop = "open",
    kind: Kind = "plain",
    errors: dict[str, int] | None = None,
    fallbacks: dict[str, int] | None = None,
    rps: float = 100,
) -> Phase:
    now = datetime.now(UTC)
    return Phase(
        target=target,
        loop=loop,
        kind=kind,
        round=number,
        requests=10,
        rps=rps,
        errors=errors or {},
        fallbacks=fallbacks or {},
        empty=0,
        total_ms=total,
        ttfb_ms=total,
        context_ms=total,
        cpu_s={"proxy": 0.1},
        memory_mib={"proxy": 100.0 + number},
        began=now,
        ended=now,
    )


def test_every_question_and_every_memory_is_a_different_one() -> None:
    assert len({fact.content for fact in corpus.memories(2_000)}) == 2_000
    assert corpus.memories(50) == corpus.memories(50)
    around = list(islice(corpus.questions(corpus.QUESTIONS - 500), 1_000))
    assert len(set(around)) == 1_000
    # A phase goes on where the last one ended.
    assert next(corpus.questions(corpus.QUESTIONS)) == around[500]


def test_the_mock_sends_31_events() -> None:
    *events, done = mock.events()
    assert len(events) == 31
    assert all(event.startswith(b"data: {") for event in events)
    assert done == b"data: [DONE]\n\n"


def run(port: int, *plans: Plan) -> list[Outcome]:
    async def both() -> list[Outcome]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(mock.Mock, "127.0.0.1", port)
        async with server:
            return [await Load(one).run() for one in plans]

    return uvloop.run(both())


def test_the_generator_counts_what_the_mock_answers() -> None:
    (port,) = free_ports(1)
    closed, opened, mixed = run(
        port,
        plan(port, stream=True),
        plan(port, rate=50, seconds=0.5),
        plan(port, stream=None, rate=20, seconds=0.2),
    )
    assert closed.sent == len(closed.total) > 4
    # The schedule decides how many there are: 4 clients, 50 a second each, half a second.
    assert opened.sent == len(opened.total) == 100
    assert mixed.sent == len(mixed.ttfb) == 16
    for outcome in (closed, opened, mixed):
        assert not outcome.errors
        assert all(
            0 < first <= total for first, total in zip(outcome.ttfb, outcome.total, strict=True)
        )


def test_an_answer_that_is_not_whole_is_an_error() -> None:
    (port,) = free_ports(1)

    async def against(answer: bytes) -> Outcome:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if await reader.read(4096):
                writer.write(answer)
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(serve, "127.0.0.1", port):
            return await Load(plan(port, stream=True, rate=20)).run()

    head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    for answer, problem in (
        (head + b"{}", "no_done"),
        (head + b"{", "connection_lost"),
        (head.replace(b"200", b"503") + b"{}", "status_503"),
        (b"garbage\r\n\r\n", "not_http"),
    ):
        outcome = asyncio.run(against(answer))
        assert set(outcome.errors) == {problem}
        assert len(outcome.total) == 0


def test_what_a_target_adds_is_paired_by_round() -> None:
    slow_round = [
        phase(DIRECT, 1, times(50)),
        phase(MEMORY_OFF, 1, times(52)),
        phase(MEMORY_ON, 1, times(60), errors={"timeout": 1}),
    ]
    quick = [
        (phase(DIRECT, n, times(1)), phase(MEMORY_OFF, n, times(3)), phase(MEMORY_ON, n, times(11)))
        for n in (0, 2)
    ]
    closed = [
        phase(MEMORY_ON, 0, {}, loop="closed", fallbacks={"timeout": 5}, rps=0),
        phase(MEMORY_OFF, 0, times(7), loop="closed", rps=900),
    ]
    lines = summarize([*quick[0], *slow_round, *quick[1], *closed])
    found = figures(lines)
    assert found["added_p99_ms_memory_on"] == 10
    assert found["added_p99_ms_memory_off"] == 2
    assert found["errors"] == 1
    assert found["rps_closed_memory_off"] == 900
    assert found["fallback_share_closed"] == 0.5
    assert found["assembly_p95_ms"] is None  # nothing was answered
    assert found["stream_added_p99_ms_memory_on"] is None  # and this was not asked
    on = next(line for line in lines if line.target == MEMORY_ON and line.loop == "open")
    assert on.cpu_ms_per_request == {"proxy": 10.0}
    assert on.memory_mib == {"proxy": 102.0}


def test_percentiles_of_nothing_are_none() -> None:
    assert percentiles([]) == {}
    assert percentiles([1.0, 2.0, 3.0])["p50"] == 2.0


def test_growth_is_judged_by_the_second_half() -> None:
    samples = [
        Sample(
            second=float(second),
            memory={
                "proxy": 100.0 + min(second, 300) / 10,  # fills its caches, then stays
                "assembler": 100.0 + second / 60,  # a MiB a minute for ever
                "redis": 10.0 + second,
            },
        )
        for second in range(0, 601, 5)
    ]
    grown = growth(samples)
    assert grown["proxy"].flat is True
    assert grown["assembler"].flat is False
    assert abs(grown["assembler"].slope - 1) < 0.01
    assert grown["redis"].flat is None
