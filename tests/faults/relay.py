"""A connection between two parts that can be held up."""

import asyncio


class Relay:
    """Passes bytes on to `host:port`; while it is held, none, and then all that have waited."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.port = 0  # where it listens
        self.arrived = 0  # bytes from the callers, passed on or not
        self._free = asyncio.Event()
        self._free.set()
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except ConnectionError:
            writer.close()
            return
        for source, sink, counts in ((reader, to_server, True), (from_server, writer, False)):
            task = asyncio.create_task(self._pump(source, sink, counts))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def close(self) -> None:
        for task in self._pumps:
            task.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                self.arrived += len(data) if counts else 0
                await self._free.wait()
                writer.write(data)
        except ConnectionError:
            return
        finally:
            writer.close()
