"""Puts the assembler together: stores, services, health, gRPC and frames."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import grpc
import grpc.aio
import redis.asyncio
from grpc_health.v1 import health_pb2_grpc
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from hotpath.assembler.auth_service import AuthService
from hotpath.assembler.context_service import ContextService
from hotpath.assembler.framed import framed
from hotpath.assembler.observing import Observer
from hotpath.assembler.operations import serving_operations
from hotpath.assembler.pinned import SessionMemory
from hotpath.assembler.questions import QuestionEmbedder
from hotpath.assembler.readiness import Readiness
from ibex.embedded.probes import http_ok, redis_answers
from ibex.embedding import EmbedderClient
from ibex.errors import ConfigurationError
from ibex.memory import tokens
from ibex.memory.recall import Embeds, Recall
from ibex.rpc.frames import FrameClient, FrameServer
from ibex.settings import Settings
from ibex.stores.directives import DirectiveCache
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.index_cache import IndexCache
from ibex.stores.injections import InjectionLog
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database
from ibex.telemetry import Tracing

_MESSAGE_BYTES = 64 * 2**20
_OPTIONS = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    # Two processes on one port would share its requests without anybody noticing.
    ("grpc.so_reuseport", 0),
]
#: The part of the deadline that Redis gets; the rest is for PostgreSQL to tell the directive.
_REDIS_SHARE = 0.4
_EMBED_LIMIT = 2.0
_GRACE = 5.0


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    """The assembler serves inside; on the way out calls in progress get 5 s to end.

    Raises ConfigurationError when the port is taken. The stores need not answer yet.
    """
    async with AsyncExitStack() as stack:
        # No connection is made before the first use: a late PostgreSQL is not a failed start.
        database = await Database.connect(
            settings.app_dsn, name="assembler", min_size=0, max_size=16
        )
        stack.push_async_callback(database.close)
        deadline, model = settings.retrieval_deadline_ms / 1000, settings.embedding_model
        cache = _open_cache(settings.redis_dsn, deadline * _REDIS_SHARE)
        stack.push_async_callback(cache.aclose)
        embedder = _embedder(stack, settings)
        indexes = IndexCache(database, model, max_bytes=settings.index_max_bytes)
        stack.push_async_callback(indexes.close)
        recall = Recall(
            DirectiveCache(cache, database),
            HotCache(cache, database, model),
            MemoryReader(database, model),
            embedder,
            indexes=indexes,
            deadline=deadline,
        )
        stack.push_async_callback(recall.close)
        sessions = SessionMemory(
            InjectionLog(cache, database), MemoryReader(database, model), deadline=deadline
        )
        stack.push_async_callback(sessions.close)
        await asyncio.to_thread(tokens.load_encodings)
        readiness = Readiness(
            {
                "postgres": database.answers,
                "redis": partial(redis_answers, settings.redis_dsn),
                "embedder": partial(http_ok, f"{settings.embedder_endpoint}/ready"),
            }
        )
        tracing = Tracing.open("ibex-assembler")
        if tracing is not None:
            stack.push_async_callback(tracing.close)
        observer = Observer(tracing)
        contexts = ContextService(recall, sessions, settings)
        server = grpc.aio.server(interceptors=(observer,), options=_OPTIONS)
        server.add_generic_rpc_handlers(
            (
                AuthService(IdentityStore(database)).handler(),
                contexts.handler(),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(readiness.health, server)
        address = f"{settings.host}:{settings.assembler_port}"
        try:
            server.add_insecure_port(address)
        except RuntimeError:
            raise ConfigurationError(
                f"Nothing can listen on {address}.",
                hint="Another process has the port; set IBEX_ASSEMBLER_PORT.",
            ) from None
        await stack.enter_async_context(serving_operations(readiness, settings))
        await readiness.start()
        await server.start()
        stack.push_async_callback(server.stop, _GRACE)
        frames = FrameServer(framed(contexts, observer))
        try:
            await frames.start(settings.host, settings.assembler_frames_port)
        except OSError:
            raise ConfigurationError(
                f"Nothing can listen on {settings.host}:{settings.assembler_frames_port}.",
                hint="Another process has the port; set IBEX_ASSEMBLER_FRAMES_PORT.",
            ) from None
        stack.push_async_callback(frames.stop, _GRACE)
        stack.push_async_callback(readiness.stop)
        yield


def _embedder(stack: AsyncExitStack, settings: Settings) -> Embeds:
    client = EmbedderClient(settings.embedder_endpoint, timeout=_EMBED_LIMIT)
    stack.push_async_callback(client.close)
    if settings.embedder_frames_target is None:
        return client
    frames = FrameClient(settings.embedder_frames_target)
    stack.push_async_callback(frames.close)
    return QuestionEmbedder(client, frames, timeout=_EMBED_LIMIT)


def _open_cache(dsn: str, timeout: float) -> redis.asyncio.Redis:
    """`timeout` in seconds for each call. One retry at once, for a connection that Redis closed
    while it was idle; redis-py's own ten with back-off are far beyond any request's deadline."""
    return redis.asyncio.Redis.from_url(
        dsn,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
