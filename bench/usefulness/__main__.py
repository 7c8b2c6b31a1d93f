"""`python -m bench.usefulness`: does IBEX find out which memories answers rest on?

Scenes written by hand are asked over and over; the answers are recorded with ten memories each and
observed by what the pipeline observes them with, on a real PostgreSQL and embedder. No model is
asked. Writes bench/results/usefulness.json.
"""

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.command import console as open_console
from bench.command import run_and_exit
from bench.environment import environment
from bench.figures import RESULTS, print_figures, write
from bench.stack import running_stack
from bench.usefulness.report import counted, figures, show
from bench.usefulness.scenes import Kind, scenes
from bench.usefulness.season import GIVEN, Course, Season, plan
from ibex.embedding import EmbedderClient
from ibex.settings import Settings
from ibex.stores.postgres import Database

_NOBODY: Final = "http://127.0.0.1:9/v1"  # no model is asked
_NOT_NEEDED: Final = ("proxy", "assembler")
_LIMIT: Final = 60.0  # seconds for a batch of embeddings


async def _measure(options: argparse.Namespace, console: Console) -> int:
    surroundings = environment()
    async with running_stack(_NOBODY, console, without=_NOT_NEEDED) as settings:
        season = await _season(settings, options.rounds, console)
    found = figures(season)
    show(season.judged, console)
    print_figures(found, console)
    write(
        options.out or RESULTS / "usefulness.json",
        {
            "figures": found,
            "measured_at": datetime.now(UTC),
            "environment": surroundings,
            "scenes": len(season.usefulness),
            "given": GIVEN,
            "rounds": options.rounds,
            "kinds": {kind.value: asdict(counted(season.judged, kind)) for kind in Kind},
            "usefulness": [round(one, 4) for one in season.usefulness],
        },
    )
    return 0


async def _season(settings: Settings, rounds: int, console: Console) -> Season:
    every = scenes()
    database = await Database.connect(settings.app_dsn, name="bench")
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=_LIMIT)
    try:
        course = Course(settings, database, embedder, console)
        return await course.run(every, plan(len(every), rounds))
    finally:
        await embedder.close()
        await database.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.usefulness")
    parser.add_argument("--rounds", type=int, default=20, help="of all scenes; default: 20")
    parser.add_argument("--out", type=Path, help="default: bench/results/usefulness.json")
    return parser.parse_args()


if __name__ == "__main__":
    run_and_exit(_measure(_options(), open_console()))
