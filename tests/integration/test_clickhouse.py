"""The chDB endpoint through the client that every service uses."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from pyreqwest.client import ClientBuilder

from ibex.embedded.clickhouse import clickhouse
from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings


def connect(settings: Settings, **changes: Any) -> Client:
    arguments = {
        "host": "127.0.0.1",
        "port": settings.clickhouse_port,
        "username": "ibex",
        "password": settings.clickhouse_password.get_secret_value(),
        "compress": False,
        "tz_mode": "aware",
    }
    return clickhouse_connect.get_client(**{**arguments, **changes})


@pytest.fixture
def client(base_settings: Settings, clickhouse_server: ProcessSpec) -> Iterator[Client]:
    """A client in a database of its own, with an empty table `requests`."""
    database = f"test_{uuid4().hex}"
    client = connect(base_settings)
    client.command(f"CREATE DATABASE {database}")
    client.database = database
    client.command(
        "CREATE TABLE requests (id UUID, at DateTime64(3, 'UTC'), n UInt32, "
        "model LowCardinality(String), note Nullable(String), ids Array(UUID)) "
        "ENGINE = MergeTree ORDER BY (at, id)"
    )
    yield client
    client.command(f"DROP DATABASE {database}")
    client.close()


def row(n: int) -> tuple[Any, ...]:
    return (uuid4(), datetime(2026, 1, 2, 3, 4, n, 250_000, UTC), n, f"m{n % 2}", None, [uuid4()])


COLUMNS = ["id", "at", "n", "model", "note", "ids"]


def test_rows_come_back_as_they_went_in(client: Client) -> None:
    rows = [row(n) for n in range(50)]
    summary = client.insert("requests", rows, column_names=COLUMNS)
    assert summary.written_rows == 50
    assert client.query("SELECT * FROM requests ORDER BY n").result_rows == rows


def test_parameters_are_bound_by_the_server(client: Client) -> None:
    client.insert("requests", [row(n) for n in range(5)], column_names=COLUMNS)
    result = client.query(
        "SELECT n, {text:String} AS text FROM requests "
        "WHERE at >= {since:DateTime64(3)} AND n < {n:UInt32} ORDER BY n",
        parameters={
            "since": datetime(2026, 1, 2, 3, 4, 1, tzinfo=UTC),
            "n": 3,
            "text": "it's a \\ \t{quote}",
        },
    )
    assert result.result_rows == [(1, "it's a \\ \t{quote}"), (2, "it's a \\ \t{quote}")]
    assert list(result.column_names) == ["n", "text"]


def test_a_long_parameter_goes_through(client: Client) -> None:
    text = "äß" * 5000
    assert client.query("SELECT {t:String}", parameters={"t": text}).result_rows == [(text,)]


def test_nothing_found_is_no_error(client: Client) -> None:
    assert client.query("SELECT n FROM requests").result_rows == []
    assert client.command("SELECT n FROM requests") == ""
    assert client.query("SELECT n, model FROM requests LIMIT 0").column_names == ("n", "model")


def test_the_database_and_the_settings_are_the_requests_own(
    client: Client, base_settings: Settings
) -> None:
    limit = "SELECT getSetting('max_threads')"
    assert client.query(limit, settings={"max_threads": 7}).result_rows == [(7,)]
    assert client.query(limit).result_rows != [(7,)]
    assert client.command("SELECT count() FROM requests") == 0
    elsewhere = connect(base_settings)
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        elsewhere.query("SELECT * FROM requests")
    elsewhere.close()


def test_a_session_keeps_its_temporary_table(base_settings: Settings, client: Client) -> None:
    client.command("CREATE TEMPORARY TABLE mine (n UInt8)")
    client.insert("mine", [(1,)], column_names=["n"], column_type_names=["UInt8"])
    assert client.query("SELECT n FROM mine").result_rows == [(1,)]
    other = connect(base_settings)
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        other.query("SELECT n FROM mine")
    other.close()


def test_errors_are_clickhouses_own(client: Client) -> None:
    with pytest.raises(DatabaseError) as failed:
        client.command("SELEC 1")
    assert failed.value.code == 62
    with pytest.raises(DatabaseError) as failed:
        client.query("SELECT 1", settings={"no_such_setting": "1"})
    assert failed.value.code == 115
    with pytest.raises(DatabaseError) as failed:
        client.raw_insert("requests", ["n"], b"\x01\x01\x01nbroken", fmt="Native")
    assert failed.value.code is not None
    assert client.command("SELECT count() FROM requests") == 0


def test_only_the_password_opens_it(
    base_settings: Settings, clickhouse_server: ProcessSpec
) -> None:
    for changes in (
        {"password": "wrong"},
        {"username": "default"},
        {"username": "", "password": ""},
    ):
        with pytest.raises(DatabaseError) as failed:
            connect(base_settings, **changes)
        assert failed.value.code == 516


async def test_it_greets_and_reports_errors_over_plain_http(
    base_settings: Settings, clickhouse_server: ProcessSpec
) -> None:
    address = f"http://127.0.0.1:{base_settings.clickhouse_port}"
    async with ClientBuilder().no_proxy().build() as http:
        for path in ("/", "/ping"):
            response = await http.get(f"{address}{path}").build().send()
            assert (response.status, await response.text()) == (200, "Ok.\n")
        ready = await http.get(f"{address}/ready").build().send()
        assert await ready.json() == {"ready": True, "checks": {"engine": True}}
        password = base_settings.clickhouse_password.get_secret_value()
        failed = await (
            http.get(f"{address}/?query=SELECT+*+FROM+nowhere")
            .header("X-ClickHouse-User", "ibex")
            .header("X-ClickHouse-Key", password)
            .build()
            .send()
        )
        assert failed.status == 404
        assert failed.headers["X-ClickHouse-Exception-Code"] == "60"
        assert (await failed.text()).startswith("Code: 60. DB::Exception: ")


def test_a_second_owner_of_the_folder_is_told_so(
    base_settings: Settings, clickhouse_server: ProcessSpec
) -> None:
    second = clickhouse(base_settings)
    done = subprocess.run(
        second.command,
        env=second.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.returncode == 1
    assert "another process has it open" in done.stderr.splitlines()[-1]
