"""`python -m bench.lake`: see docs/performance.md."""

import argparse
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from bench.command import console as open_console
from bench.command import run_and_exit
from bench.embeddings import around
from bench.environment import environment
from bench.figures import RESULTS, write
from bench.lake import archiving, report, talk
from bench.lake.exporting import export
from bench.lake.scanning import scan
from bench.lake.snapshots import snapshots
from bench.memory.filling import crowd
from bench.stack import running_stack
from ibex.embedding import DIMENSIONS, Matrix

_NOBODY: Final = "http://127.0.0.1:9/v1"  # no model is asked
_LEFT_OUT: Final = ("proxy", "assembler", "embedder")
_TALK: Final = 100_000  # different turns
_MEANINGS: Final = 2_000  # directions that memories lie around


async def _lake(options: argparse.Namespace, console: Console) -> int:
    surroundings, began = environment(), time.monotonic()
    said = talk.turns(min(_TALK, options.turns))
    vectors = _vectors(min(10_000, options.memories))
    async with running_stack(_NOBODY, console, without=_LEFT_OUT) as settings:
        talkers = await archiving.fill(settings, "talkers", options.sessions, said)
        archived = await archiving.archive(settings, talkers, options.sessions, said, console)
        scanned = await scan(settings, options.turns, said, console)
        knowing = await crowd(settings, "knowing", 1, options.memories, vectors, console)
        exported = await export("knowing", options.memories, console)
        taken = await snapshots(settings, knowing, vectors[:1], console)
    made = report.Measured(archived, scanned, tuple(exported), taken)
    report.show(made, console)
    write(
        options.out or RESULTS / "lake.json",
        {
            "figures": report.figures(made),
            "measured_at": datetime.now(UTC),
            "seconds": round(time.monotonic() - began),
            "environment": surroundings,
            **asdict(made),
        },
    )
    return 0


def _vectors(count: int) -> Matrix:
    """Unit vectors around fewer ones, as texts' are; no text is embedded here."""
    random = np.random.default_rng(2)
    meanings = random.standard_normal((min(count, _MEANINGS), DIMENSIONS)).astype(np.float32)
    meanings /= np.linalg.norm(meanings, axis=1, keepdims=True)
    return around(meanings, count)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.lake")
    parser.add_argument("--sessions", type=int, default=1_000, help="that are archived")
    parser.add_argument("--turns", type=int, default=1_000_000, help="in the lake, of a year")
    parser.add_argument("--memories", type=int, default=100_000, help="exported, in a snapshot")
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything: a look")
    parser.add_argument("--out", type=Path, help="the file for the result")
    options = parser.parse_args()
    if options.quick:
        for name in ("sessions", "turns", "memories"):
            setattr(options, name, max(1, getattr(options, name) // 20))
    return options


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        run_and_exit(_lake(_options(), open_console()))
