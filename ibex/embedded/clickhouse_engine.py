"""One chDB engine over one folder. Not thread-safe: one worker thread owns it.

Every request runs on a connection of its own, so `USE` and settings never leak into another; a
`session_id` keeps its connection, and with it temporary tables and `SET`, until it times out.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chdb import ChdbError
from chdb.state.sqlitelike import Connection

from ibex.embedded.clickhouse_protocol import Query
from ibex.errors import EmbeddedServerError

_MAX_SESSIONS = 100
# The one worker must not be held for ever; a request may ask for another limit.
_DEFAULTS = {"max_execution_time": "120"}
# chDB raises both, depending on the call.
ENGINE_ERRORS = (ChdbError, RuntimeError)


@dataclass(frozen=True)
class Result:
    body: bytes
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_ns: int = 0


@dataclass
class _Handle:
    """A connection, and what is set on it."""

    connection: Any
    settings: dict[str, str] = field(default_factory=dict)
    database: str = "default"
    expires: float = 0.0


class Engine:
    """Opens the folder. Raises EmbeddedServerError when another process has it open."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder)
        self._sessions: OrderedDict[str, _Handle] = OrderedDict()
        try:
            self._root = Connection(self._path)  # keeps the engine up between requests
            self.version = self._root.query("SELECT version()", "TabSeparated").bytes().decode()
        except ENGINE_ERRORS as error:
            raise EmbeddedServerError(
                f"ClickHouse cannot open {folder}: another process has it open, or it is damaged.",
                hint="One process at a time may own it; 'ibex down' stops the stack's own.",
            ) from error
        self.version = self.version.strip()

    def close(self) -> None:
        for handle in self._sessions.values():
            handle.connection.close()
        self._sessions.clear()
        self._root.close()

    def execute(self, query: Query) -> Result:
        """Raises one of ENGINE_ERRORS with ClickHouse's message."""
        handle = self._handle(query)
        try:
            self._apply(handle, query.settings, query.database)
            return self._run(handle.connection, query)
        finally:
            if query.session_id is None:
                handle.connection.close()

    def _handle(self, query: Query) -> _Handle:
        now = time.monotonic()
        for name in [name for name, kept in self._sessions.items() if kept.expires < now]:
            self._sessions.pop(name).connection.close()
        if query.session_id is None:
            return _Handle(Connection(self._path))
        handle = self._sessions.pop(query.session_id, None) or _Handle(Connection(self._path))
        handle.expires = now + query.session_timeout
        self._sessions[query.session_id] = handle
        if len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)[1].connection.close()
        return handle

    def _apply(self, handle: _Handle, settings: Mapping[str, str], database: str | None) -> None:
        """Bring the connection to what this request asks for; usually nothing is to be done."""
        wanted = {**_DEFAULTS, **settings}
        for name in handle.settings.keys() - wanted.keys():
            handle.connection.query(f"SET {name} = DEFAULT")
            del handle.settings[name]
        for name, value in wanted.items():
            if handle.settings.get(name) != value:
                handle.connection.query(f"SET {name} = {_literal(value)}")
                handle.settings[name] = value
        if database is not None and database != handle.database:
            handle.connection.query(f"USE {_identifier(database)}")
            handle.database = database

    def _run(self, connection: Any, query: Query) -> Result:
        if query.data is None:
            done = connection.query(query.sql, query.format, params=dict(query.parameters))
            return Result(
                body=done.bytes() or b"",
                read_rows=done.rows_read(),
                read_bytes=done.bytes_read(),
                elapsed_ns=int(done.elapsed() * 1e9),
            )
        with connection.send_insert(query.sql, query.format) as stream:
            if query.data:
                stream.append(query.data)
            written = stream.finish()
        return Result(
            body=b"",
            written_rows=written.rows_written,
            written_bytes=written.bytes_written,
            elapsed_ns=int(written.elapsed * 1e9),
        )


def _literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _identifier(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"
