"""`python -m ibex.embedded.prepare`: migrations, the trace table and the buckets, before services.

Doing it again changes nothing.
"""

import asyncio
import logging
import sys

from ibex.errors import ConfigurationError, IbexError
from ibex.logs import configure_logging
from ibex.settings import Settings, load_settings

_LIMIT = 120.0  # seconds
_log = logging.getLogger("ibex.prepare")


async def prepare(settings: Settings) -> None:
    async with asyncio.timeout(_LIMIT):
        await asyncio.gather(_database(settings), _traces(settings), _buckets(settings))


async def _database(settings: Settings) -> None:
    if settings.database_url and not settings.database_admin_url:
        _log.warning("no IBEX_DATABASE_ADMIN_URL: run 'ibex db migrate' where there is one")
        return
    from ibex.stores.migrate import migrate  # noqa: PLC0415 — heavy, and only needed here

    await migrate(settings)
    _log.info("the database is at its newest version")


async def _traces(settings: Settings) -> None:
    from ibex.stores.traces import ensure_traces  # noqa: PLC0415

    await ensure_traces(settings)
    _log.info("the trace table is there")


async def _buckets(settings: Settings) -> None:
    from ibex.stores.objects import ObjectStore  # noqa: PLC0415

    store = ObjectStore(settings)
    for bucket in (settings.sessions_bucket, settings.lake_bucket):
        await store.ensure_bucket(bucket)
    _log.info("the buckets are there")


def main() -> None:
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
        asyncio.run(prepare(settings))
    except IbexError as error:
        sys.stderr.write(f"ibex: {error.message} {error.advice}\n")
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


if __name__ == "__main__":
    main()
