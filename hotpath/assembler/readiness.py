"""Keeps grpc.health.v1 true.

`ibex.v1.Auth` serves while PostgreSQL answers. `ibex.v1.ContextAssembly` serves from the moment
everything it needs has answered once: later failures degrade its answers, which is still better
than none. The process as a whole (the empty name) is ready while all of it answers.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from grpc_health.v1 import health, health_pb2

from ibex.rpc.clients import AUTH_SERVICE, CONTEXT_SERVICE

_LOG = logging.getLogger("ibex.assembler")
_LIMIT = 2.0  # seconds for one check
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Check = Callable[[], Coroutine[Any, Any, bool]]


class Readiness:
    def __init__(self, checks: Mapping[str, Check], *, interval: float = 3.0) -> None:
        """`checks` by name, "postgres" among them; `interval` in seconds."""
        # The stubs do not know the asyncio servicer.
        self.health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._checks = checks
        self._interval = interval
        self._seen: set[str] = set()
        self._last: dict[str, bool] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def checks(self) -> dict[str, bool]:
        """What answered last; empty before anything was asked."""
        return dict(self._last)

    async def start(self) -> None:
        for service in ("", AUTH_SERVICE, CONTEXT_SERVICE):
            await self.health.set(service, _NOT_SERVING)
        self._task = asyncio.create_task(self._watch(), name="readiness")

    async def stop(self) -> None:
        """Say NOT_SERVING for good, so that callers go elsewhere before the server closes."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.health.enter_graceful_shutdown()

    async def refresh(self) -> None:
        """Ask everything once and publish the outcome."""
        names = list(self._checks)
        answers = await asyncio.gather(*(_ask(self._checks[name]) for name in names))
        now = dict(zip(names, answers, strict=True))
        self._seen.update(name for name, answer in now.items() if answer)
        if now != self._last:
            _LOG.info("ready: %s", " ".join(f"{name}={now[name]}" for name in names))
            self._last = now
        for service, serving in (
            (AUTH_SERVICE, now["postgres"]),
            (CONTEXT_SERVICE, self._warm),
            ("", all(answers)),
        ):
            await self.health.set(service, _SERVING if serving else _NOT_SERVING)

    async def _watch(self) -> None:
        while True:
            await self.refresh()
            # Somebody waits for a process that was never ready: look again soon.
            await asyncio.sleep(self._interval if self._warm else 0.25)

    @property
    def _warm(self) -> bool:
        """Everything has answered once."""
        return self._seen.issuperset(self._checks)


async def _ask(check: Check) -> bool:
    try:
        return await asyncio.wait_for(check(), _LIMIT)
    except TimeoutError:
        return False
