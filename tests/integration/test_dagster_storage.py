"""Dagster's books over connections that are kept."""

from sqlalchemy import text
from sqlalchemy.engine import make_url

from ibex.settings import Settings
from orchestration.storage import PooledPostgresStorage


def backend(storage: PooledPostgresStorage) -> int:
    """The process of PostgreSQL's that serves the next statement."""
    with storage._run_storage.connect() as connection:
        pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return pid


def test_a_connection_serves_all_instances_again_and_a_dead_one_is_replaced(
    settings: Settings,
) -> None:
    url = make_url(settings.admin_dsn).set(drivername="postgresql+psycopg2")
    config = {"postgres_url": url.render_as_string(hide_password=False)}
    storage = PooledPostgresStorage.from_config_value(None, config)
    try:
        first = backend(storage)
        assert storage.run_storage.get_runs() == []
        assert backend(storage) == first
        another = PooledPostgresStorage.from_config_value(None, config)
        assert backend(another) == first

        with storage._run_storage.connect() as own, storage._run_storage.connect() as beside:
            victim = own.execute(text("SELECT pg_backend_pid()")).scalar_one()
            beside.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": victim})
        assert storage.run_storage.get_runs() == []
        assert storage.event_log_storage.get_logs_for_run("none") == []
    finally:
        storage._run_storage._engine.dispose()
