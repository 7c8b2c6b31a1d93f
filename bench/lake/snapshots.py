"""A day's snapshot of many memories: made, asked as of a day, compared, erased from."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter

from rich.console import Console

from bench.memory.filling import Crowd
from ibex.embedding import Matrix
from ibex.settings import Settings
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.vectors.comparing import clusters, duplicates, load
from ibex.vectors.searching import as_of, search
from ibex.vectors.snapshots import Erasure, Snapshots

_SLOW = 300.0  # seconds


@dataclass(frozen=True)
class Snapshotted:
    memories: int
    made_s: float
    mib: float
    as_of_s: float  # fetched from S3, checked and searched
    compared: int  # memories that were compared with each other
    duplicates_s: float
    clusters_s: float
    erased_s: float  # one memory out of two days' snapshots


async def snapshots(
    settings: Settings, crowd: Crowd, question: Matrix, console: Console
) -> Snapshotted:
    """`question`: a vector, as one row."""
    database = await Database.connect(settings.app_dsn, name="bench", command_timeout=_SLOW)
    objects, now = ObjectStore(settings), datetime.now(UTC)
    made = Snapshots(database, objects, settings)
    try:
        began = perf_counter()
        one = await made.take(crowd.org_id, now)
        made_s = perf_counter() - began
        if one is None:
            raise AssertionError("there are memories")
        console.print(f"A snapshot of {one.rows:,} memories is there.", highlight=False)
        began = perf_counter()
        chosen = as_of(await made.all(crowd.org_id), now.date())
        async with made.fetched(crowd.org_id, chosen.day) as table:
            found = await search(
                *(table, chosen, crowd.agents[0], None, question[0], settings.embedding_model, 10)
            )
            as_of_s = perf_counter() - began
            memories = await load(table, settings.embedding_model)
        began = perf_counter()
        duplicates(memories)
        duplicates_s = perf_counter() - began
        began = perf_counter()
        clusters(memories)
        clusters_s = perf_counter() - began
        await made.take(crowd.org_id, now + timedelta(days=1))
        began = perf_counter()
        await made.erase(crowd.org_id, Erasure("memory_id", (found[0].memory_id,)))
        erased_s = perf_counter() - began
        await made.erase_all(crowd.org_id)
    finally:
        await objects.close()
        await database.close()
    return Snapshotted(
        memories=one.rows,
        made_s=round(made_s, 2),
        mib=round(one.size / 2**20, 1),
        as_of_s=round(as_of_s, 2),
        compared=len(memories),
        duplicates_s=round(duplicates_s, 2),
        clusters_s=round(clusters_s, 2),
        erased_s=round(erased_s, 2),
    )
