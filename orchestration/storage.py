"""Dagster's books in PostgreSQL, with connections that are kept.

Dagster opens a connection for every event that it stores and closes it again: 160 of them, each
with its handshake and a process of PostgreSQL's, in a run that turns one session into memories, and
several a second in a daemon that has nothing to do.
"""

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine
from sqlalchemy import Engine

_KEPT = 2  # connections of a process
_MORE = 15  # at once, when as many threads are at work
_RECYCLED = 600  # seconds


class PooledPostgresStorage(DagsterPostgresStorage):
    """For the `storage` of dagster.yaml; needs `postgres_url`.

    All instances of a process share their connections: the code server makes an instance for every
    tick of a sensor. The web server replaces them with its own, which it keeps too.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = _engine(postgres_url, os.getpid())  # noqa: SLF001 — no setting for it

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledPostgresStorage":
        return cls(config_value["postgres_url"], inst_data)


@cache
def _engine(postgres_url: str, _process: int) -> Engine:
    """A connection is tried before it is used again, so that PostgreSQL may restart in between."""
    return create_pg_engine(
        postgres_url,
        isolation_level="AUTOCOMMIT",
        pool_size=_KEPT,
        max_overflow=_MORE,
        pool_recycle=_RECYCLED,
        pool_pre_ping=True,
    )
