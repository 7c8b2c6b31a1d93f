"""The step between the servers and the services, on all three servers."""

import asyncpg
import clickhouse_connect
from minio import Minio

from ibex.embedded.prepare import prepare
from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings


async def test_it_prepares_every_store_and_may_do_so_again(
    settings: Settings, s3_server: ProcessSpec, clickhouse_server: ProcessSpec
) -> None:
    await prepare(settings)
    await prepare(settings)
    connection = await asyncpg.connect(settings.app_dsn)
    assert await connection.fetchval("SELECT count(*) FROM ibex_core.agents") == 0
    await connection.close()
    objects = Minio(
        f"127.0.0.1:{settings.s3_port}",
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=False,
    )
    assert objects.bucket_exists(settings.sessions_bucket)
    assert objects.bucket_exists(settings.lake_bucket)
    traces = clickhouse_connect.get_client(
        host="127.0.0.1",
        port=settings.clickhouse_port,
        username="ibex",
        password=settings.clickhouse_password.get_secret_value(),
        compress=False,
    )
    assert traces.command("EXISTS TABLE ibex.traces") == 1
    traces.close()
