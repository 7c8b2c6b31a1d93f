"""Alembic's entry: runs as the owner of the schema, over the administrator's connection."""

from typing import Any

from alembic import context
from sqlalchemy import create_engine, pool, text
from sqlalchemy.engine import make_url

from ibex.settings import load_settings
from ibex.stores.models import SCHEMA, metadata


def admin_url() -> str:
    url = context.config.attributes.get("dsn") or load_settings().admin_dsn
    return str(
        make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
    )


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    return name == SCHEMA if kind == "schema" else True


def configure(**options: Any) -> None:
    context.configure(
        target_metadata=metadata,
        include_schemas=True,
        include_name=include_name,
        version_table_schema=SCHEMA,
        compare_type=True,
        compare_server_default=False,
        **options,
    )


if context.is_offline_mode():
    configure(url=admin_url(), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(admin_url(), poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text("SET ROLE ibex_owner"))
        connection.commit()
        configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
