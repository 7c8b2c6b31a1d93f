"""Runs the migrations. Alembic is imported here only: no service needs it."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config

from ibex.settings import Settings
from ibex.stores.bootstrap import prepare_database

_PROJECT = Path(__file__).parents[2]


def alembic_config(settings: Settings) -> Config:
    config = Config(toml_file=str(_PROJECT / "pyproject.toml"))
    config.attributes["dsn"] = settings.admin_dsn
    return config


async def migrate(settings: Settings, revision: str = "head") -> None:
    """Prepare the database and bring the schema to `revision`, from whatever it is."""
    await prepare_database(settings)
    await asyncio.to_thread(command.upgrade, alembic_config(settings), revision)
