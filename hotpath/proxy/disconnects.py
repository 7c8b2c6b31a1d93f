"""A client that goes away stops what is done for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from ibex.asgi import ClientDisconnectedError, Receive


async def while_connected(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Run `work` once the request's body is read; cancel it when the client hangs up.

    Raises what `work` raises, or ClientDisconnectedError.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            if working.cancelled():
                raise ClientDisconnectedError
        await working
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.gather(watching, working, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
