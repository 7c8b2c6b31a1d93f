"""What a write costs, embedding included, into an agent that knows a lot already.

Four kinds of statements in turns, each in words that the embedder has not seen: what is new, what
is known in the same words, a value that has changed, and what many say at once in a batch.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import Final
from uuid import UUID

from rich.console import Console
from rich.progress import track

from bench import corpus
from bench.figures import Times, percentiles, shown
from ibex.embedding import EmbedderClient
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.writing import MemoryWriter
from ibex.settings import Settings
from ibex.stores.postgres import Database

BATCH: Final = 32
_LIMIT: Final = 60.0  # seconds
_MADE_BY: Final = Provenance(None, "bench/1", "bench", "bench", None)
_SAID_AT: Final = {1: corpus.NOW}
_WARM_UP: Final = 10


@dataclass(frozen=True)
class Writes:
    memories: int  # of the agent before
    writes: int  # of each kind
    new_ms: Times
    known_ms: Times
    changed_ms: Times
    batch_ms: Times  # of `BATCH` new statements in one write
    superseded: int  # memories that changed values ended


async def measure(
    settings: Settings, org_id: UUID, agent_id: UUID, memories: int, writes: int, console: Console
) -> Writes:
    """`memories` says how many the agent has. Raises EmbedderUnavailableError,
    DatabaseUnavailableError."""
    database = await Database.connect(settings.app_dsn, name="bench")
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=_LIMIT)
    writer = MemoryWriter(database, embedder, settings)
    taken: dict[str, list[float]] = {"new": [], "known": [], "changed": [], "batch": []}
    superseded = 0
    numbers = count(memories + 1)  # not those of an agent of another size

    async def write(kind: str, *facts: Fact) -> int:
        began = time.perf_counter()
        done = await writer.write(org_id, agent_id, None, facts, _MADE_BY, _SAID_AT)
        taken[kind].append((time.perf_counter() - began) * 1000)
        return len(done.superseded)

    try:
        for _ in track(range(writes + _WARM_UP), "Writing", console=console, transient=True):
            first, second = _desk(next(numbers), 1), _desk(next(numbers), 1)
            await write("new", first)
            await write("known", replace(first, valid_from=corpus.NOW + timedelta(hours=1)))
            await write("new", second)
            superseded += await write("changed", _moved(second))
            await write("batch", *(_desk(next(numbers), 1) for _ in range(BATCH)))
    finally:
        await embedder.close()
        await database.close()
    times = {kind: percentiles(one[_WARM_UP:]) for kind, one in taken.items()}
    made = Writes(
        memories,
        writes,
        times["new"],
        times["known"],
        times["changed"],
        times["batch"],
        superseded,
    )
    show(made, console)
    return made


def figures(made: Writes) -> dict[str, float | None]:
    """Flat; `write_p95_ms` is of a new statement."""
    return {
        "write_p50_ms": made.new_ms.get("p50"),
        "write_p95_ms": made.new_ms.get("p95"),
        "write_known_p95_ms": made.known_ms.get("p95"),
        "write_changed_p95_ms": made.changed_ms.get("p95"),
        f"write_batch{BATCH}_p95_ms": made.batch_ms.get("p95"),
    }


def show(made: Writes, console: Console) -> None:
    for name, times in (
        ("a new statement", made.new_ms),
        ("a known one", made.known_ms),
        ("a changed value", made.changed_ms),
        (f"{BATCH} new ones at once", made.batch_ms),
    ):
        console.print(
            f"Write among {made.memories:,} memories, {name:22} {shown(times)} ms",
            highlight=False,
        )


def _desk(number: int, day: int) -> Fact:
    """About a person whom no other statement is about."""
    name = _name(number)
    return Fact(
        Category.DECLARATIVE,
        f"{name}'s desk is in room {100 + number % 800}.",
        0.9,
        Source.USER,
        (1,),
        subject=name,
        attribute="room",
        valid_from=corpus.NOW + timedelta(days=day - 60),
    )


def _moved(fact: Fact) -> Fact:
    return replace(
        fact,
        content=f"{fact.subject}'s desk is in room 9{fact.content[-4:-1]}.",
        valid_from=corpus.NOW,
    )


def _name(number: int) -> str:
    """Names that no two numbers share."""
    return " ".join(_syllables(number, first) for first in ("kelmo", "taruvi"))


def _syllables(number: int, sounds: str) -> str:
    return "".join(_letters(number, sounds)).capitalize()


def _letters(number: int, sounds: str) -> Iterator[str]:
    while True:
        number, rest = divmod(number, len(sounds) * 5)
        yield sounds[rest // 5] + "aeiou"[rest % 5]
        if not number:
            return
