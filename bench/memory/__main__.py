"""`python -m bench.memory`: see docs/performance.md."""

import argparse
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench.command import console as open_console
from bench.command import run_and_exit
from bench.corpus import memories, questions
from bench.embeddings import embed, embedded
from bench.environment import environment
from bench.figures import RESULTS, print_figures, write
from bench.memory import report
from bench.memory.filling import crowd, forget
from bench.memory.lists import HotReads, hot_reads
from bench.memory.searching import Searched, Searcher
from bench.memory.sizes import Sizes, sizes
from bench.stack import running_stack
from ibex.settings import Settings

_SIZES: Final = (10_000, 100_000)
_NOBODY: Final = "http://127.0.0.1:9/v1"  # no model is asked
_LEFT_OUT: Final = ("proxy", "assembler")


async def _memory(options: argparse.Namespace, console: Console) -> int:
    surroundings, began = environment(), time.monotonic()
    searched: list[Searched] = []
    lists: list[HotReads] = []
    taken: list[Sizes] = []
    async with running_stack(_NOBODY, console, without=_LEFT_OUT) as settings:
        searcher, real = await _prepared(settings, options, console)
        for size in sorted(set(options.memories or _SIZES)):
            one = await crowd(settings, f"one-{size}", 1, size, real, console)
            console.print(f"One agent with {size:,} memories is there.", highlight=False)
            lists.append(await hot_reads(settings, one, options.reads))
            searched.append(await searcher.by_index(one, options.checked))
            few = options.searches if size < options.large else max(10, options.checked)
            searched.append(
                await searcher.by_sql(one, min(options.checked, 10), min(few, options.searches))
            )
            taken.append(await sizes(settings, one))
            await forget(settings, one)
        many = await crowd(settings, "many", options.agents, options.each, real, console)
        console.print(f"{options.agents:,} agents with {many.memories:,} memories are there.")
        searched.append(await searcher.by_sql(many, options.checked, options.searches))
        searched.append(await searcher.as_served(many, options.searches))
        taken.append(await sizes(settings, many))
    report.show(searched, lists, taken, console)
    figures = report.figures(searched, lists, taken)
    print_figures(figures, console)
    write(
        options.out or RESULTS / "memory.json",
        {
            "figures": figures,
            "measured_at": datetime.now(UTC),
            "seconds": round(time.monotonic() - began),
            "environment": surroundings,
            "real_embeddings": options.real,
            "searches": [asdict(one) for one in searched],
            "hot": [asdict(one) for one in lists],
            "sizes": [asdict(one) for one in taken],
        },
    )
    return 0


async def _prepared(
    settings: Settings, options: argparse.Namespace, console: Console
) -> tuple[Searcher, Any]:
    """The questions with their vectors, and the embeddings of the corpus' first memories."""
    texts = [fact.content for fact in memories(options.real)]
    real = await embedded(settings, texts, len(texts), console)
    asked = list(islice(questions(0), options.searches))
    return Searcher(settings, asked, await embed(settings, asked)), real


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
    parser.add_argument(
        "--large",
        type=int,
        default=50_000,
        help="memories of an agent from which on PostgreSQL is asked fewer times",
    )
    parser.add_argument("--out", type=Path, help="the file for the result")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        run_and_exit(_memory(_options(), open_console()))
