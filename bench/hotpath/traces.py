"""What the traces in ClickHouse say about a phase that no header says."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from clickhouse_connect.driver.client import Client

from bench.hotpath.phases import Phase
from ibex.settings import Settings
from ibex.stores.traces import open_clickhouse

_DEGRADED = """
SELECT part, count() FROM ibex.traces ARRAY JOIN degraded AS part
WHERE started_at >= {began:DateTime64(3, 'UTC')} AND started_at < {ended:DateTime64(3, 'UTC')}
GROUP BY part ORDER BY part
"""


def with_degraded(settings: Settings, phases: Sequence[Phase], names: set[str]) -> list[Phase]:
    """The phases, those of the targets in `names` with how often which part of the context was
    late. Blocks. Raises what ClickHouse raises."""
    client = open_clickhouse(settings)
    try:
        return [
            replace(phase, degraded=_degraded(client, phase.began, phase.ended))
            if phase.target in names
            else phase
            for phase in phases
        ]
    finally:
        client.close()


def _degraded(client: Client, began: datetime, ended: datetime) -> dict[str, int]:
    answer = client.query(_DEGRADED, parameters={"began": began, "ended": ended})
    return {str(part): int(count) for part, count in answer.result_rows}
