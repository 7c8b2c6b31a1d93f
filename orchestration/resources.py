"""What a run opens: the stores of the assets, and the place where values pass between them."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import redis.asyncio
from dagster import (
    DagsterInvariantViolationError,
    InitResourceContext,
    InputContext,
    IOManager,
    IOManagerDefinition,
    OutputContext,
    ResourceDefinition,
)

from assets.stores import Stores
from ibex.embedding import EmbedderClient
from ibex.errors import IbexError
from ibex.leases import renewed
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.hot import HotCache
from ibex.stores.jobs import JobStore
from ibex.stores.model_slots import open_model_slots
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from ibex.stores.turns import TurnReader
from ibex.stores.usage import UsageStore
from orchestration.background import BackgroundLoop

_REDIS_LIMIT = 5.0  # seconds, of one command
_EMBED_LIMIT = 30.0  # seconds, of one batch

_log = logging.getLogger("ibex.pipeline")


def stores_resource(settings: Settings) -> ResourceDefinition:
    """Opened when a run starts, closed when it ends; leases are renewed in between."""

    def open_for_run(context: InitResourceContext) -> Iterator[Stores]:
        run_id = context.run.run_id if context.run else "no-run"
        loop = BackgroundLoop("ibex-stores")
        stack = AsyncExitStack()
        try:
            yield loop.wait(_open(settings, run_id, loop, stack))
        finally:
            loop.wait(stack.aclose())
            loop.close()

    return ResourceDefinition(
        open_for_run, description="PostgreSQL, Redis, S3, the embedder and the settings."
    )


async def _open(
    settings: Settings, run_id: str, loop: BackgroundLoop, stack: AsyncExitStack
) -> Stores:
    database = await Database.connect(settings.app_dsn, name="pipeline", command_timeout=30)
    stack.push_async_callback(database.close)
    cache = redis.asyncio.Redis.from_url(
        settings.redis_dsn, socket_timeout=_REDIS_LIMIT, socket_connect_timeout=_REDIS_LIMIT
    )
    stack.push_async_callback(cache.aclose)
    embedder = EmbedderClient(
        settings.embedder_endpoint,
        timeout=_EMBED_LIMIT,
        model=settings.embedding_model,
        background=True,
    )
    stack.push_async_callback(embedder.close)
    objects = ObjectStore(settings)
    stack.push_async_callback(objects.close)
    jobs = JobStore(database)
    archive = SessionArchive(database, objects, settings)
    await stack.enter_async_context(_leases_renewed(jobs, run_id, settings))
    return Stores(
        settings=settings,
        database=database,
        jobs=jobs,
        sessions=SessionStore(database),
        hot=HotCache(cache, database, settings.embedding_model),
        embedder=embedder,
        objects=objects,
        archive=archive,
        turns=TurnReader(database, archive),
        model_slots=await stack.enter_async_context(open_model_slots(settings)),
        usage=UsageStore(database),
        wait=loop.wait,
    )


@asynccontextmanager
async def _leases_renewed(jobs: JobStore, run_id: str, settings: Settings) -> AsyncIterator[None]:
    """While the run lives its leases hold; what it still has when it ends goes back at once."""
    try:
        async with renewed(
            lambda: jobs.renew(run_id, settings.extraction_lease), settings.extraction_lease, _log
        ):
            yield
    finally:
        try:
            await jobs.release(
                run_id, "run_ended", settings.extraction_max_attempts, settings.extraction_backoff
            )
        except (IbexError, asyncpg.PostgresError) as error:
            _log.warning("leases end by themselves, not given back (%s)", type(error).__name__)


class RunMemory(IOManager):
    """Values pass between the assets of one run in memory: they hold content, so never on disk."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    def handle_output(self, context: OutputContext, obj: object) -> None:
        self._values[context.asset_key.to_user_string()] = obj

    def load_input(self, context: InputContext) -> object:
        name = context.asset_key.to_user_string()
        if name not in self._values:
            raise DagsterInvariantViolationError(
                f"This run did not make '{name}', and what an earlier run made was not kept. "
                "Materialise all assets of the group together, or start the job 'learn'."
            )
        return self._values[name]


def run_memory() -> IOManagerDefinition:
    return IOManagerDefinition(
        lambda _: RunMemory(), description="Values stay in the run's memory, never on disk."
    )
