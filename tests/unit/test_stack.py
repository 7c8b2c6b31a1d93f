from pathlib import Path

import pytest

from ibex.embedded.stack import processes
from ibex.embedded.supervisor import pause_before_restart
from ibex.errors import ConfigurationError
from ibex.settings import Settings


def names(settings: Settings) -> list[str]:
    return [spec.name for spec in processes(settings)]


def test_everything_that_a_process_needs_comes_before_it(tmp_path: Path) -> None:
    started: set[str] = set()
    for spec in processes(Settings(home=tmp_path)):
        assert set(spec.after) <= started, spec.name
        started.add(spec.name)
    assert len(started) == 14


def test_a_server_of_ones_own_is_not_started(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        database_url="postgresql://ibex_app:p@db/ibex",
        dagster_database_url="postgresql://dagster:p@db/dagster",
        redis_url="redis://cache:6379/0",
        s3_url="http://s3:9000",
        clickhouse_url="http://ibex:p@clickhouse:8123",
        provider_base_url="http://models:8000/v1",
        embedder_url="http://embedder:8090",
        assembler_address="assembler:50051",
        api_url="http://api:8081",
    )
    assert names(settings) == [
        "migrate",
        "proxy",
        "dagster-code",
        "dagster-daemon",
        "dagster-webserver",
        "dashboard",
    ]


def test_dagster_needs_a_database_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="IBEX_DAGSTER_DATABASE_URL"):
        processes(Settings(home=tmp_path, database_url="postgresql://ibex_app:p@db/ibex"))


def test_no_secret_is_on_a_command_line(tmp_path: Path) -> None:
    secrets = {
        name: f"secret-{name}"
        for name, field in Settings.model_fields.items()
        if "password" in name or name == "s3_secret_key"
    }
    settings = Settings(home=tmp_path, **secrets)  # type: ignore[arg-type]
    for spec in processes(settings):
        assert "secret-" not in " ".join(spec.command), spec.name


def test_pauses_grow_up_to_half_a_minute() -> None:
    pauses = [pause_before_restart(failures) for failures in range(1, 9)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
