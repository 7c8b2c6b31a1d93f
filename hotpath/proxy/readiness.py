"""/health: the loop runs. /ready: requests can be answered.

The assembler must have answered once, so that a fresh stack does not begin with fallbacks; after
that its absence degrades the answers and takes nobody out of service. The check still shows it, as
it shows Redis (without it, rate limits hold for each process alone) and a provider that is left
alone because it failed too often.
"""

import asyncio
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from hotpath.proxy.exchange import Exchange
from hotpath.proxy.limits import RateLimits
from hotpath.proxy.providers.routing import Providers
from hotpath.proxy.responses import send_json
from ibex.rpc.clients import CONTEXT_SERVICE
from ibex.stores.postgres import Database

_LIMIT: Final = 2.0  # seconds


class Readiness:
    def __init__(
        self,
        database: Database,
        channel: grpc.aio.Channel,
        limits: RateLimits,
        providers: Providers,
    ) -> None:
        self._database = database
        self._limits = limits
        self._providers = providers
        self._check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        self._assembler_seen = False

    async def health(self, exchange: Exchange) -> None:
        await send_json(exchange, 200, {"status": "ok"})

    async def ready(self, exchange: Exchange) -> None:
        postgres, assembler, cache = await asyncio.gather(
            self._database.answers(), self._assembler_serves(), self._limits.answers()
        )
        self._assembler_seen = self._assembler_seen or assembler
        ready = postgres and self._assembler_seen
        checks = {"postgres": postgres, "assembler": assembler, "redis": cache}
        checks |= {f"provider:{name}": on for name, on in self._providers.serving().items()}
        await send_json(exchange, 200 if ready else 503, {"ready": ready, "checks": checks})

    async def _assembler_serves(self) -> bool:
        try:
            answer = await self._check(HealthCheckRequest(service=CONTEXT_SERVICE), timeout=_LIMIT)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == HealthCheckResponse.SERVING)
