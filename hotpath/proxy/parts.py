"""Puts the proxy together: what each stage needs, opened in order and closed in reverse."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio

from hotpath.proxy.agents import AgentVerifier
from hotpath.proxy.auth import TokenVerifier
from hotpath.proxy.availability import Availability
from hotpath.proxy.background import Background
from hotpath.proxy.chat import ChatCompletions
from hotpath.proxy.context import ContextStage
from hotpath.proxy.directives import Directives
from hotpath.proxy.drainer import Drainer
from hotpath.proxy.freshness import Freshness
from hotpath.proxy.gauges import Gauges
from hotpath.proxy.known import KnownSessions
from hotpath.proxy.limits import RateLimits, open_limits
from hotpath.proxy.passthrough import PassThrough
from hotpath.proxy.providers.routing import Providers
from hotpath.proxy.readiness import Readiness
from hotpath.proxy.recorder import Recorder
from hotpath.proxy.sessions import SessionCompletion, SessionFinder
from hotpath.proxy.users import UserDirectory
from ibex.providers import configured_providers
from ibex.rpc import AuthClient, ContextClient
from ibex.rpc.clients import open_channel
from ibex.rpc.frames import FrameClient
from ibex.settings import Settings
from ibex.spool import Spool
from ibex.stores.identity import IdentityStore
from ibex.stores.invalidation import Invalidations
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from ibex.stores.traces import TraceWriter

_CONNECTIONS: Final = 20  # to PostgreSQL
_REDIS_LIMIT: Final = 2.0  # seconds
_DRAIN: Final = 10.0  # seconds for turns that are being stored at the end


@dataclass(frozen=True)
class Parts:
    tokens: TokenVerifier
    agents: AgentVerifier
    limits: RateLimits
    chat: ChatCompletions
    completion: SessionCompletion
    passthrough: PassThrough
    providers: Providers
    readiness: Readiness
    traces: TraceWriter
    gauges: Gauges


@asynccontextmanager
async def opened_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Nothing else needs to answer yet: /ready tells when it does."""
    async with AsyncExitStack() as stack:
        database = await Database.connect(
            settings.app_dsn, name="proxy", min_size=0, max_size=_CONNECTIONS
        )
        stack.push_async_callback(database.close)
        identity, store = IdentityStore(database), SessionStore(database)

        channel = open_channel(settings.assembler_target)
        stack.push_async_callback(channel.close, None)
        auth, ttl = AuthClient(channel), settings.auth_cache_ttl
        tokens = TokenVerifier(auth, identity, ttl)
        agents = AgentVerifier(auth, identity, ttl)
        directives = Directives(identity, ttl)
        await stack.enter_async_context(_fresh(settings, Freshness(tokens, agents, directives)))

        traces = TraceWriter(settings)
        await traces.start()
        stack.push_async_callback(traces.close)
        providers = Providers(configured_providers(settings), settings)
        stack.push_async_callback(providers.close)
        spool = Spool(settings.spool_folder, settings.spool_max_bytes)
        known, availability = KnownSessions(), Availability(database)
        drainer = Drainer(spool, store, identity, availability)
        drainer.start()
        stack.push_async_callback(drainer.close, _DRAIN)
        background = Background()
        stack.push_async_callback(background.drain, _DRAIN)
        gauges = Gauges(spool, providers)
        await stack.enter_async_context(_running(gauges.run(), "gauges"))

        limits = await open_limits(settings, stack)
        frames = None
        if settings.assembler_frames_target is not None:
            frames = FrameClient(settings.assembler_frames_target)
            stack.push_async_callback(frames.close)
        users = UserDirectory(identity, ttl)
        chat = ChatCompletions(
            settings,
            limits,
            SessionFinder(store, users, known, availability, spool),
            ContextStage(
                ContextClient(channel, frames), directives, settings.assembly_timeout_ms / 1000
            ),
            providers,
            Recorder(store, known, availability, spool, background),
        )
        yield Parts(
            tokens=tokens,
            agents=agents,
            limits=limits,
            chat=chat,
            completion=SessionCompletion(store, users),
            providers=providers,
            passthrough=PassThrough(providers, limits, settings.max_body_bytes),
            readiness=Readiness(availability, channel, limits, providers, spool),
            traces=traces,
            gauges=gauges,
        )


@asynccontextmanager
async def _fresh(settings: Settings, freshness: Freshness) -> AsyncIterator[None]:
    """Listen to what changes, as long as the proxy runs."""
    client = redis.asyncio.Redis.from_url(settings.redis_dsn, socket_connect_timeout=_REDIS_LIMIT)
    listening = Invalidations(client).listen(freshness.changed, freshness.missed)
    try:
        async with _running(listening, "invalidations"):
            yield
    finally:
        await client.aclose()


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
