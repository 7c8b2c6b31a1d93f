"""ClickHouse from a wheel: chDB in a process of its own, behind ClickHouse's HTTP interface."""

import os
import sys
from functools import partial

from ibex.embedded.probes import http_ok
from ibex.embedded.process import ProcessSpec, private_folder
from ibex.settings import Settings


def clickhouse(settings: Settings) -> ProcessSpec:
    address = f"http://127.0.0.1:{settings.clickhouse_port}"
    return ProcessSpec(
        name="clickhouse",
        title="ClickHouse (chDB)",
        command=(sys.executable, "-m", "ibex.embedded.clickhouse_server"),
        inherits=False,
        env={
            "IBEX_HOME": str(settings.home),
            "IBEX_CLICKHOUSE_PORT": str(settings.clickhouse_port),
            "IBEX_CLICKHOUSE_PASSWORD": settings.clickhouse_password.get_secret_value(),
            "IBEX_LOG_LEVEL": settings.log_level,
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "TZ": "UTC",  # the engine's time zone is the process's
        },
        port=settings.clickhouse_port,
        ready=partial(http_ok, f"{address}/ping"),
        prepare=partial(private_folder, settings.home / "data" / "clickhouse"),
        address=address,
    )
