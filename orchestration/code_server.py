"""The code server, whose runs start warm: `python -m orchestration.code_server -h HOST -p PORT`.

Dagster's code server starts a process for each run, and that process imports Dagster and the assets
anew: two seconds of a processor before the first asset. Here it is forked from a process that has
imported them and does nothing else (multiprocessing's fork server: no thread, no connection, so
that forking it is safe). All else is Dagster's: a run is still a process of its own, which can be
killed, cancelled and watched by itself. See docs/adr/0067.
"""

import sys
from multiprocessing import forkserver, get_context
from typing import Any

from dagster._cli.api import api_cli
from dagster._grpc import server

_DEFINITIONS = "orchestration.definitions"
_PRELOADED = "orchestration.preloaded"  # by the fork server, not by this process


class WarmRunServer(server.DagsterApiServer):
    """Dagster's servicer, with another way to start a process."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Dagster has no setting for it; a test sees that its runs are forked.
        self._mp_ctx = get_context("forkserver")  # type: ignore[assignment]
        self._mp_ctx.set_forkserver_preload([_PRELOADED])
        forkserver.ensure_running()  # so that the first run does not wait for it


def main() -> None:
    server.DagsterApiServer = WarmRunServer  # type: ignore[misc]
    api_cli(["grpc", "-m", _DEFINITIONS, *sys.argv[1:]], prog_name="dagster api")


if __name__ == "__main__":
    main()
