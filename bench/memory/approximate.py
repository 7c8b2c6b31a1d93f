"""What an approximate index of pgvector finds and costs, beside the exact search that is served.

IVFFlat with 100 lists and 10 probes is what the source requirements name; HNSW over half-precision
vectors goes on until it has enough rows (iterative scan). Each is built on the whole table, as an
index of pgvector is, and asked for the ten nearest of one agent with organization and agent in the
statement, as the application, under row-level security. By cosine alone, without words.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from uuid import UUID

import asyncpg
import numpy as np
from rich.console import Console

from bench.figures import Times, percentiles
from bench.memory.filling import Crowd
from ibex.embedding import Matrix
from ibex.settings import Settings
from ibex.stores.postgres import Connection, Database

_SLOW: Final = 900.0  # seconds
_SEED: Final = 1
_NAME: Final = "ibex_core.bench_approximate"
_AMONG: Final = """
FROM ibex_core.memories
WHERE org_id = $1 AND agent_id = $2 AND user_id IS NULL AND status = 'active' AND valid_to IS NULL
ORDER BY {distance} LIMIT 10
"""
#: `+ 0` keeps every index over vectors out of it.
_EXACT: Final = "SELECT id " + _AMONG.format(distance="(embedding <=> $3) + 0")
_HALF: Final = "embedding::halfvec(384) <=> $3::vector::halfvec(384)"


@dataclass(frozen=True)
class Kind:
    create: str  # what follows USING
    search: str
    settings: Mapping[str, str]


_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "ivfflat, 10 of 100 lists": Kind(
            "ivfflat (embedding vector_cosine_ops) WITH (lists = 100)",
            "SELECT id " + _AMONG.format(distance="embedding <=> $3"),
            MappingProxyType({"ivfflat.probes": "10"}),
        ),
        "hnsw halfvec, iterative": Kind(
            "hnsw ((embedding::halfvec(384)) halfvec_cosine_ops)",
            "SELECT id " + _AMONG.format(distance=_HALF),
            MappingProxyType(
                {"hnsw.ef_search": "100", "hnsw.iterative_scan": "strict_order"},
            ),
        ),
    }
)


@dataclass(frozen=True)
class Approximate:
    kind: str
    memories: int
    agents: int
    search_ms: Times
    exact_ms: Times  # the same ten by an exact scan of the agent's rows
    recall: float  # mean share of the ten nearest
    build_s: float
    mib: float


async def approximate(
    settings: Settings, crowd: Crowd, vectors: Matrix, console: Console
) -> list[Approximate]:
    """Builds, asks and drops each kind; one agent by chance for each of the vectors."""
    chance = random.Random(_SEED)
    agents = [chance.choice(crowd.agents) for _ in vectors]
    database = await Database.connect(settings.app_dsn, name="bench", command_timeout=_SLOW)
    admin = await asyncpg.connect(settings.admin_dsn, command_timeout=_SLOW)
    found = []
    try:
        async with database.tenant(crowd.org_id) as connection:
            exact, exact_ms = await _ask(connection, _EXACT, crowd, agents, vectors)
        for name, kind in _KINDS.items():
            with console.status(f"{name} over {crowd.memories:,} memories"):
                began = time.perf_counter()
                await admin.execute("SET maintenance_work_mem = '1GB'")
                await admin.execute(
                    f"CREATE INDEX {_NAME.partition('.')[2]} ON ibex_core.memories "
                    f"USING {kind.create}"
                )
                build_s = time.perf_counter() - began
                size: int = await admin.fetchval(f"SELECT pg_relation_size('{_NAME}')")
                async with database.tenant(crowd.org_id) as connection:
                    for setting, value in kind.settings.items():
                        await connection.execute(f"SET LOCAL {setting} = {value}")
                    # The planner would rather scan the agent's rows; what the index does is asked.
                    await connection.execute("SET LOCAL enable_sort = off")
                    near, times = await _ask(connection, kind.search, crowd, agents, vectors)
                await admin.execute(f"DROP INDEX {_NAME}")
            found.append(
                Approximate(
                    kind=name,
                    memories=crowd.memories,
                    agents=len(crowd.agents),
                    search_ms=times,
                    exact_ms=exact_ms,
                    recall=round(_share(near, exact), 4),
                    build_s=round(build_s, 1),
                    mib=round(size / 2**20, 1),
                )
            )
    finally:
        await admin.close()
        await database.close()
    return found


async def _ask(
    connection: Connection, sql: str, crowd: Crowd, agents: Sequence[UUID], vectors: Matrix
) -> tuple[list[set[UUID]], Times]:
    found, times = [], []
    for agent_id, vector in zip(agents, vectors, strict=True):
        began = time.perf_counter()
        rows = await connection.fetch(sql, crowd.org_id, agent_id, vector)
        times.append((time.perf_counter() - began) * 1000)
        found.append({row["id"] for row in rows})
    return found, percentiles(times[1:])


def _share(near: Sequence[set[UUID]], exact: Sequence[set[UUID]]) -> float:
    shares = [len(some & all_) / len(all_) for some, all_ in zip(near, exact, strict=True)]
    return float(np.mean(shares))
