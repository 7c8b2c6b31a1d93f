"""What memories take on the disk: the table, and each of its indexes."""

from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson

from bench.memory.filling import Crowd
from ibex.settings import Settings

_SIZES: Final = """
SELECT pg_table_size('ibex_core.memories') AS rows,
  (SELECT jsonb_object_agg(indexrelname, pg_relation_size(indexrelid))::text
   FROM pg_stat_user_indexes
   WHERE schemaname = 'ibex_core' AND relname = 'memories') AS indexes
"""


@dataclass(frozen=True)
class Sizes:
    memories: int
    table_mib: float
    indexes_mib: dict[str, float]  # by name
    bytes_per_memory: int  # all of it


async def sizes(settings: Settings, crowd: Crowd) -> Sizes:
    """Of the whole table, which holds nothing but this crowd."""
    admin = await asyncpg.connect(settings.admin_dsn)
    try:
        (row,) = await admin.fetch(_SIZES)
    finally:
        await admin.close()
    indexes = {name: int(size) for name, size in orjson.loads(row["indexes"]).items()}
    return Sizes(
        memories=crowd.memories,
        table_mib=_mib(row["rows"]),
        indexes_mib={name: _mib(size) for name, size in sorted(indexes.items())},
        bytes_per_memory=round((row["rows"] + sum(indexes.values())) / crowd.memories),
    )


def _mib(size: int) -> float:
    return round(size / 2**20, 1)
