"""`python -m ibex.sandbox`: the sandbox model server on IBEX_SANDBOX_PORT."""

from ibex.sandbox.service import SandboxService
from ibex.serving import http_server, run_process
from ibex.settings import Settings


def main(settings: Settings) -> int:
    http_server(SandboxService(settings), settings, settings.sandbox_port).run()
    return 0


if __name__ == "__main__":
    run_process(main)
