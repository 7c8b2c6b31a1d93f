"""What the endpoints use, made once when the process starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated

import grpc
import grpc.aio
import redis.asyncio
from fastapi import Depends, Request
from grpc_health.v1 import health_pb2

from api.authenticator import Authenticator
from api.metrics import Figures
from api.streaming import CONNECTIONS, Exports
from ibex.embedding import EmbedderClient
from ibex.memory.observing import Observer
from ibex.rpc import AuthClient
from ibex.rpc.clients import AUTH_SERVICE, open_channel
from ibex.settings import Settings
from ibex.stores.backfills import BackfillStore
from ibex.stores.checks import CheckStore
from ibex.stores.forgetting import RetentionStore
from ibex.stores.history import HistoryReader
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.invalidation import Invalidations
from ibex.stores.jobs import JobStore
from ibex.stores.limits import LimitStore
from ibex.stores.lineage import LineageReader
from ibex.stores.management import ManagementStore
from ibex.stores.objects import ObjectStore
from ibex.stores.pipeline import PipelineReader
from ibex.stores.postgres import Database
from ibex.stores.review import MemoryReview
from ibex.stores.sessions import SessionStore
from ibex.stores.turns import TurnReader
from ibex.stores.usefulness import UsefulnessStore
from ibex.transfer.exporting import Exporter

_LIMIT = 2.0  # seconds for one readiness check, or one call of Redis
_EXPORTING = 60.0  # seconds for the next rows of an export


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    identity: IdentityStore
    limits: LimitStore
    management: ManagementStore
    history: HistoryReader
    lineage: LineageReader
    checks: CheckStore
    review: MemoryReview
    retention: RetentionStore
    sessions: SessionStore
    turns: TurnReader
    exports: Exports
    jobs: JobStore
    pipeline: PipelineReader
    backfills: BackfillStore
    objects: ObjectStore
    hot: HotCache
    usefulness: UsefulnessStore
    observer: Observer
    invalidations: Invalidations
    authenticator: Authenticator
    figures: Figures
    channel: grpc.aio.Channel

    async def ready(self) -> dict[str, bool]:
        """Whether each part that every request needs answers, by its name."""
        database, auth = await asyncio.gather(self.database.answers(), self._auth_answers())
        return {"postgres": database, "auth": auth}

    async def _auth_answers(self) -> bool:
        check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(
                health_pb2.HealthCheckRequest(service=AUTH_SERVICE), timeout=_LIMIT
            )
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Nothing has to answer yet: the process lives, and is ready when everything does."""
    async with AsyncExitStack() as opened:
        # min_size=0: no connection before the first request.
        database = await Database.connect(settings.app_dsn, name="api", min_size=0)
        opened.push_async_callback(database.close)
        cache = redis.asyncio.Redis.from_url(
            settings.redis_dsn, socket_connect_timeout=_LIMIT, socket_timeout=_LIMIT
        )
        opened.push_async_callback(cache.aclose)
        channel = open_channel(settings.assembler_target)
        opened.push_async_callback(channel.close, None)
        objects = ObjectStore(settings)
        opened.push_async_callback(objects.close)
        embedder = EmbedderClient(settings.embedder_endpoint, timeout=_LIMIT)
        opened.push_async_callback(embedder.close)
        turns = TurnReader.of(database, objects, settings)
        # Connections of their own: however slowly exports are read, everything else has its own.
        long_reads = await Database.connect(
            settings.app_dsn,
            name="api-exports",
            min_size=0,
            max_size=CONNECTIONS,
            command_timeout=_EXPORTING,
        )
        opened.push_async_callback(long_reads.close)
        jobs = JobStore(database)
        usefulness = UsefulnessStore(database, settings.embedding_model)
        authenticator = Authenticator(AuthClient(channel), settings.auth_cache_ttl)
        invalidations = Invalidations(cache)
        listener = asyncio.create_task(
            invalidations.listen(authenticator.on_invalidation, authenticator.forget_all),
            name="invalidations",
        )
        opened.push_async_callback(_cancel, listener)
        yield Services(
            settings=settings,
            database=database,
            identity=IdentityStore(database),
            limits=LimitStore(database),
            management=ManagementStore(database),
            history=HistoryReader(database),
            lineage=LineageReader(database),
            checks=CheckStore(database),
            review=MemoryReview(database, HotCache(cache, database)),
            retention=RetentionStore(database),
            sessions=SessionStore(database),
            turns=turns,
            exports=Exports(Exporter(long_reads, TurnReader.of(long_reads, objects, settings))),
            jobs=jobs,
            pipeline=PipelineReader(database),
            backfills=BackfillStore(database),
            objects=objects,
            hot=HotCache(cache, database, settings.embedding_model),
            usefulness=usefulness,
            observer=Observer(usefulness, turns, embedder),
            invalidations=invalidations,
            authenticator=authenticator,
            figures=Figures(jobs, settings.metrics_token),
            channel=channel,
        )


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


CurrentServices = Annotated[Services, Depends(_services)]
