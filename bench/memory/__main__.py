"""`python -m bench.memory`: see docs/performance.md."""

import argparse
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.command import console as open_console
from bench.command import run_and_exit
from bench.corpus import memories, questions
from bench.embeddings import embed, embedded
from bench.environment import environment
from bench.figures import RESULTS, print_figures, write
from bench.memory import report, writes
from bench.memory.approximate import approximate
from bench.memory.filling import crowd, forget
from bench.memory.lists import hot_reads
from bench.memory.report import Measured
from bench.memory.searching import Searcher
from bench.memory.sizes import sizes
from bench.stack import running_stack
from ibex.embedding import Matrix
from ibex.settings import Settings

_SIZES: Final = (10_000, 100_000)
_LARGE: Final = 50_000  # memories
_FEW: Final = 10
_COMPARED: Final = 50  # questions for approximate indexes
_NOBODY: Final = "http://127.0.0.1:9/v1"  # no model is asked
_LEFT_OUT: Final = ("proxy", "assembler")


async def _memory(options: argparse.Namespace, console: Console) -> int:
    surroundings, began = environment(), time.monotonic()
    made = Measured()
    async with running_stack(_NOBODY, console, without=_LEFT_OUT) as settings:
        bench = await _prepared(settings, options, console)
        for size in sorted(set(options.memories or _SIZES)):
            await _one_agent(bench, size, made)
        await _many_agents(bench, made)
    report.show(made, console)
    figures = report.figures(made)
    print_figures(figures, console)
    write(
        options.out or RESULTS / "memory.json",
        {
            "figures": figures,
            "measured_at": datetime.now(UTC),
            "seconds": round(time.monotonic() - began),
            "environment": surroundings,
            "real_embeddings": options.real,
            **asdict(made),
        },
    )
    return 0


@dataclass(frozen=True)
class _Bench:
    settings: Settings
    options: argparse.Namespace
    console: Console
    real: Matrix  # the embeddings of the corpus' first memories
    vectors: Matrix  # of the questions
    searcher: Searcher


async def _prepared(settings: Settings, options: argparse.Namespace, console: Console) -> _Bench:
    texts = [fact.content for fact in memories(options.real)]
    real = await embedded(settings, texts, len(texts), console)
    asked = list(islice(questions(0), options.searches))
    vectors = await embed(settings, asked)
    return _Bench(settings, options, console, real, vectors, Searcher(settings, asked, vectors))


async def _one_agent(bench: _Bench, size: int, made: Measured) -> None:
    settings, options, console = bench.settings, bench.options, bench.console
    one = await crowd(settings, f"one-{size}", 1, size, bench.real, console)
    console.print(f"One agent with {size:,} memories is there.", highlight=False)
    made.hot.append(await hot_reads(settings, one, options.reads))
    # PostgreSQL and the check go through all of an agent's rows: a few questions tell enough.
    few = min(options.checked, _FEW)
    checked = options.checked if size < _LARGE else few
    made.searches.append(await bench.searcher.by_index(one, checked))
    searches = options.searches if size < _LARGE else _FEW
    made.searches.append(await bench.searcher.by_sql(one, few, searches))
    made.sizes.append(await sizes(settings, one))
    if options.approximate:
        made.approximate.extend(
            await approximate(settings, one, bench.vectors[:_COMPARED], console)
        )
    made.writes.append(
        await writes.measure(settings, one.org_id, one.agents[0], size, options.writes, console)
    )
    await forget(settings, one)


async def _many_agents(bench: _Bench, made: Measured) -> None:
    settings, options, console = bench.settings, bench.options, bench.console
    many = await crowd(settings, "many", options.agents, options.each, bench.real, console)
    console.print(f"{options.agents:,} agents with {many.memories:,} memories are there.")
    made.searches.append(await bench.searcher.by_sql(many, options.checked, options.searches))
    made.searches.append(await bench.searcher.as_served(many, options.searches))
    made.sizes.append(await sizes(settings, many))
    if options.approximate:
        made.approximate.extend(
            await approximate(settings, many, bench.vectors[:_COMPARED], console)
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.memory")
    parser.add_argument(
        "--memories",
        type=int,
        action="append",
        metavar="COUNT",
        help="of one agent; any number of times (default: 10000, 100000)",
    )
    parser.add_argument("--agents", type=int, default=1_000, help="of the large organization")
    parser.add_argument("--each", type=int, default=1_000, help="memories of each of them")
    parser.add_argument("--searches", type=int, default=500, help="of each way")
    parser.add_argument("--checked", type=int, default=30, help="questions compared with exact")
    parser.add_argument("--reads", type=int, default=3_000, help="of a hot list")
    parser.add_argument("--real", type=int, default=10_000, help="embeddings by the embedder")
    parser.add_argument("--writes", type=int, default=100, help="of each kind, and agent")
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="also build IVFFlat and HNSW indexes, ask them and drop them: takes minutes",
    )
    parser.add_argument("--out", type=Path, help="the file for the result")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        run_and_exit(_memory(_options(), open_console()))
