"""The mock upstream as a process of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from bench.stack import free_ports
from ibex.errors import EmbeddedServerError

_START_LIMIT: Final = 10.0  # seconds


@asynccontextmanager
async def mock_upstream(port: int | None) -> AsyncIterator[str]:
    """Its base URL, ending in /v1; `port` None: any."""
    chosen = port or free_ports(1)[0]
    process = subprocess.Popen(  # noqa: ASYNC220 — starting takes no time
        (sys.executable, "-m", "bench.hotpath.mock", str(chosen))
    )
    try:
        _wait_until_open(process, chosen)
        yield f"http://127.0.0.1:{chosen}/v1"
    finally:
        process.terminate()
        process.wait(5)


def _wait_until_open(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"The mock upstream does not listen on port {port}.",
                hint="Is the port taken? Choose another one with --mock-port.",
            )
        time.sleep(0.05)
