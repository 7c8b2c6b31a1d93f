"""`python -m bench.recall`: see docs/performance.md."""

import argparse
import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.command import console as open_console
from bench.command import run_and_exit
from bench.corpus import questions
from bench.embeddings import embed
from bench.environment import environment
from bench.figures import RESULTS, print_figures, shown, write
from bench.processes import running
from bench.recall import report
from bench.recall.course import CLIENTS, INDEX, SQL, Course, Runner, Way
from bench.recall.exact import Found, check
from bench.recall.load import Load, Plan
from bench.seed import SeededAgent, seed
from bench.stack import free_ports, process_ids, running_stack
from ibex.embedded.child import PROJECT
from ibex.embedded.log_files import last_lines
from ibex.embedded.stack import processes
from ibex.errors import EmbeddedServerError
from ibex.settings import Settings

_SIZES: Final = (1_000, 10_000, 100_000)
_QUICK_SIZES: Final = (1_000, 10_000)
_REAL: Final = 10_000  # memories whose embeddings are the embedder's own
_SAMPLE: Final = 50  # questions that are checked against exact search
_SHARED: Final = ("embedder", "postgres", "redis")
_NOBODY: Final = "http://127.0.0.1:9/v1"  # no model is asked
_LOADED: Final = re.compile(r"index of (\d+) memories, ([\d.]+) MiB, in ([\d.]+) s")
_LOG_LINES: Final = 5_000
_LOAD_LIMIT: Final = 300.0  # seconds


async def _recall(options: argparse.Namespace, console: Console) -> int:
    surroundings = environment()
    sizes = options.memories or (_QUICK_SIZES if options.quick else _SIZES)
    course = Course(
        rounds=options.rounds or (1 if options.quick else 3),
        seconds=options.seconds or (1.5 if options.quick else 5.0),
        warm_up=1.0 if options.quick else 3.0,
    )
    async with running_stack(_NOBODY, console, without=("proxy",)) as settings:
        agents = await seed(settings, sorted(set(sizes)), console, real=options.real)
        loads = {agent.memories: await _load_index(settings, agent, console) for agent in agents}
        async with _without_index(settings) as sql:
            pids = process_ids(settings.home)
            shared = {name: pids[name] for name in _SHARED}
            ways = {
                INDEX: Way(settings.assembler_target, {"assembler": pids["assembler"], **shared}),
                SQL: replace(sql, pids={**sql.pids, **shared}),
            }
            runner = Runner(ways, agents, settings.assembly_timeout_ms, console)
            phases = await runner.run(course)
        found = await _check(settings, agents, console)
    lines = report.summarize(phases)
    report.show(lines, console)
    figures = {
        **report.figures(lines),
        **{f"index_load_s_{count}": load["seconds"] for count, load in loads.items()},
        **report.checked(found),
    }
    print_figures(figures, console)
    write(
        options.out or RESULTS / "recall.json",
        {
            "figures": figures,
            "measured_at": datetime.now(UTC),
            "environment": surroundings,
            "load": {
                **asdict(course),
                "clients": CLIENTS,
                "memories": [agent.memories for agent in agents],
                "real_embeddings": min(options.real, max(agent.memories for agent in agents)),
                "late_ms": settings.assembly_timeout_ms,
            },
            "indexes": {str(count): load for count, load in loads.items()},
            "searches": {
                str(count): {INDEX: asdict(by_index), SQL: asdict(by_sql)}
                for count, (by_index, by_sql) in found.items()
            },
            "summary": [asdict(line) for line in lines],
            "phases": [asdict(phase) for phase in phases],
        },
    )
    return 0


@asynccontextmanager
async def _without_index(settings: Settings) -> AsyncIterator[Way]:
    """A second assembler on the same data that searches in PostgreSQL only."""
    names = ("assembler_port", "assembler_metrics_port", "assembler_frames_port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    own = settings.model_copy(update=ports)
    spec = next(spec for spec in processes(own) if spec.name == "assembler")
    env = {f"IBEX_{name.upper()}": str(value) for name, value in ports.items()}
    spec = replace(spec, name="assembler-sql", env={**spec.env, **env, "IBEX_INDEX_MAX_BYTES": "0"})
    async with running(spec, settings.home / "logs", PROJECT) as assembler:
        yield Way(own.assembler_target, {"assembler": assembler.process.pid})


async def _load_index(
    settings: Settings, agent: SeededAgent, console: Console
) -> dict[str, float | None]:
    """The first request begins it; the log says when it is done, and how long it took."""

    def seen() -> list[tuple[str, str]]:
        lines = last_lines(settings.home, "assembler", _LOG_LINES)
        found = [match.groups() for line in lines if (match := _LOADED.search(line))]
        return [(mib, took) for count, mib, took in found if int(count) == agent.memories]

    before = len(seen())
    title = f"Loading the index of {agent.memories:,} memories"
    with console.status(title), suppress(TimeoutError):
        async with asyncio.timeout(_LOAD_LIMIT):
            while len(seen()) == before:
                await _one_request(settings, agent)
                await asyncio.sleep(0.2)
    if len(seen()) == before:
        raise EmbeddedServerError(
            f"The assembler has not loaded the index of {agent.memories:,} memories.",
            hint="Is IBEX_INDEX_MAX_BYTES large enough, and IBEX_LOG_LEVEL INFO?",
        )
    mib, took = seen()[-1]
    console.print(f"{title} took {took} s, {mib} MiB.", highlight=False)
    return {"seconds": float(took), "mib": float(mib)}


async def _one_request(settings: Settings, agent: SeededAgent) -> None:
    plan = Plan(
        target=settings.assembler_target,
        org_id=str(agent.org_id),
        agent_id=str(agent.id),
        turns=1,
        clients=1,
        seconds=0.001,
        first_question=0,
        late_ms=settings.assembly_timeout_ms,
    )
    await Load(plan).run()


async def _check(
    settings: Settings, agents: list[SeededAgent], console: Console
) -> dict[int, tuple[Found, Found]]:
    """By the number of memories: of the index, and of SQL."""
    asked = list(islice(questions(0), _SAMPLE))
    vectors = await embed(settings, asked)
    found = {}
    for agent in agents:
        with console.status(f"Checking the search of {agent.memories:,} memories"):
            found[agent.memories] = await check(settings, agent, asked, vectors)
        for name, one in zip((INDEX, SQL), found[agent.memories], strict=True):
            console.print(
                f"{name:5} {agent.memories:8,} memories, {_SAMPLE} questions one by one: "
                f"recall@10 {one.recall:.1%}, search {shown(one.search_ms)} ms",
                highlight=False,
            )
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.recall")
    parser.add_argument("--seconds", type=float, help="of a phase; default: 5")
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument(
        "--quick", action="store_true", help="one round of short phases, without 100,000: a look"
    )
    parser.add_argument(
        "--memories",
        type=int,
        action="append",
        metavar="COUNT",
        help="of an agent; any number of times (default: 1000, 10000, 100000)",
    )
    parser.add_argument(
        "--real",
        type=int,
        default=_REAL,
        help="embeddings made by the embedder; the rest near them",
    )
    parser.add_argument("--out", type=Path, help="the file for the result")
    options = parser.parse_args()
    if min(options.memories or _SIZES) < 1 or options.real < 1:
        parser.error("--memories and --real are 1 or more")
    return options


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        run_and_exit(_recall(_options(), open_console()))
