"""`python -m hotpath.proxy`: the proxy on IBEX_PROXY_PORT, in IBEX_PROXY_WORKERS processes."""

from uvicorn.supervisors import Multiprocess

from hotpath.proxy.app import Proxy
from ibex.http1.egress import egress_to
from ibex.metrics import shared_by_workers
from ibex.providers import configured_providers
from ibex.serving import http_server, run_process
from ibex.settings import Settings


def main(settings: Settings) -> int:
    # One sentence now rather than a failed start of each worker.
    for provider in configured_providers(settings).values():
        egress_to(provider.base_url)
    server = http_server(Proxy(settings), settings, settings.proxy_port)
    if settings.proxy_workers == 1:
        server.run()
        return 0
    config = server.config
    config.workers = settings.proxy_workers
    with shared_by_workers():
        Multiprocess(config, [config.bind_socket()]).run()
    return 0


if __name__ == "__main__":
    run_process(main)
