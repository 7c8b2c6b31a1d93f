"""What is true right now, for /metrics: what the spool holds, and which providers are left alone.

It is looked at when this process is asked, and every second for the other workers of the port.
"""

import asyncio
import logging
from typing import Final

from hotpath.proxy.providers.routing import Providers
from ibex.circuit import State
from ibex.metrics import gauge
from ibex.spool import Spool

_log = logging.getLogger("ibex.proxy")

_WAITING: Final = gauge(
    "ibex_spool_turns_waiting", "Turns in the spool's folder.", workers="livemax"
)
_BYTES: Final = gauge("ibex_spool_bytes", "Their size on the disk.", workers="livemax")
_OLDEST: Final = gauge(
    "ibex_spool_oldest_seconds", "How long the oldest of them has waited.", workers="livemax"
)
_CIRCUITS: Final = gauge(
    "ibex_proxy_provider_circuits",
    "Processes by what their circuit of a provider is: closed, open (it is left alone), half-open.",
    ("provider", "state"),
)

_EVERY: Final = 1.0  # seconds


class Gauges:
    def __init__(self, spool: Spool, providers: Providers) -> None:
        self._spool = spool
        self._providers = providers

    def look(self) -> None:
        waiting = self._spool.waiting()
        _WAITING.set(waiting.records)
        _BYTES.set(waiting.bytes)
        _OLDEST.set(waiting.oldest_age)
        for provider, state in self._providers.states().items():
            for one in State:
                _CIRCUITS.labels(provider, one.value).set(one is state)

    async def run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  what is not seen now is seen in a second
                _log.error("the gauges could not be read: %s", type(error).__name__)
            await asyncio.sleep(_EVERY)
