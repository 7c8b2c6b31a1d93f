"""/health: the loop runs. /ready: requests can be answered.

The assembler must have answered once, so that a fresh stack does not begin with fallbacks; after
that its absence degrades the answers and takes nobody out of service. So with PostgreSQL: once it
has answered, requests are served as long as the spool takes their turns. The checks still show it,
as they show Redis (without it, rate limits hold for each process alone) and a provider that is left
alone because it failed too often.
"""

import asyncio
from dataclasses import asdict
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from hotpath.proxy.availability import Availability
from hotpath.proxy.exchange import Exchange
from hotpath.proxy.limits import RateLimits
from hotpath.proxy.providers.routing import Providers
from hotpath.proxy.responses import send_json
from ibex.rpc.clients import CONTEXT_SERVICE
from ibex.spool import Spool

_LIMIT: Final = 2.0  # seconds


class Readiness:
    def __init__(
        self,
        availability: Availability,
        channel: grpc.aio.Channel,
        limits: RateLimits,
        providers: Providers,
        spool: Spool,
    ) -> None:
        self._availability = availability
        self._limits = limits
        self._providers = providers
        self._spool = spool
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
            self._availability.ask(), self._assembler_serves(), self._limits.answers()
        )
        self._assembler_seen = self._assembler_seen or assembler
        spool = self._spool.status()
        keeps = postgres or (self._availability.seen and spool.accepts)
        ready = keeps and self._assembler_seen
        checks = {
            "postgres": postgres,
            "assembler": assembler,
            "redis": cache,
            "spool": spool.accepts,
        }
        checks |= {f"provider:{name}": on for name, on in self._providers.serving().items()}
        state = {"ready": ready, "checks": checks, "spool": asdict(spool)}
        await send_json(exchange, 200 if ready else 503, state)

    async def _assembler_serves(self) -> bool:
        try:
            answer = await self._check(HealthCheckRequest(service=CONTEXT_SERVICE), timeout=_LIMIT)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == HealthCheckResponse.SERVING)
