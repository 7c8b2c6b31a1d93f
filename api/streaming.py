"""Answers of any size: made as fast as the client takes them, by few at once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Final

from fastapi.responses import StreamingResponse

from ibex.errors import RateLimitedError
from ibex.transfer.exporting import Exporter, Scope, encoded
from ibex.transfer.formats import Format, writer
from ibex.transfer.tables import Table, columns_of

_AT_ONCE: Final = 2  # of one process: each holds a connection to PostgreSQL while it is read
CONNECTIONS: Final = 2 * _AT_ONCE  # one more each, for a session's turns out of its archive
_PATIENCE: Final = 60.0  # seconds that a client may take for one piece
_AHEAD: Final = 4  # pieces made before they are taken

_Piece = bytes | BaseException | None  # None: that was all


class Exports:
    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def answer(
        self, table: Table, scope: Scope, form: Format, *, embeddings: bool = False
    ) -> StreamingResponse:
        """The file. What fails before its first byte is raised here; later the connection breaks,
        so that half a file is never taken for a whole one.

        Raises RateLimitedError while others are read, and as `Exporter.rows`.
        """
        if self._free.locked():
            raise RateLimitedError(
                "Other exports are being read.", hint="Try again when they are done."
            )
        await self._free.acquire()
        rows = self._exporter.rows(table, scope, embeddings=embeddings)
        pieces = encoded(rows, writer(form, columns_of(table, embeddings=embeddings)))
        waiting: asyncio.Queue[_Piece] = asyncio.Queue(_AHEAD)
        making = asyncio.create_task(self._make(pieces, waiting), name=f"export-{table}")
        first = await waiting.get()
        if isinstance(first, BaseException):
            raise first
        day = datetime.now(UTC).date()
        return StreamingResponse(
            _taken(first, waiting, making),
            media_type=form.media_type,
            headers={"content-disposition": f'attachment; filename="{table}-{day}.{form}"'},
        )

    async def _make(
        self, pieces: AsyncGenerator[bytes, None], waiting: asyncio.Queue[_Piece]
    ) -> None:
        last: _Piece = None
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    async with asyncio.timeout(_PATIENCE):
                        await waiting.put(piece)
        except TimeoutError:
            return  # the client went to sleep: its connection ends when it wakes
        except Exception as error:  # noqa: BLE001 — raised where the pieces are taken
            last = error
        finally:
            self._free.release()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await waiting.put(last)


async def _taken(
    first: bytes | None, waiting: asyncio.Queue[_Piece], making: asyncio.Task[None]
) -> AsyncIterator[bytes]:
    piece: _Piece = first
    try:
        while piece is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            if making.done() and waiting.empty():
                raise RateLimitedError("The client took too long.")
            piece = await waiting.get()
    finally:
        making.cancel()
        await asyncio.wait({making})
