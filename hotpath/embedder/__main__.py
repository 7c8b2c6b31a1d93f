"""`python -m hotpath.embedder`: the embedding service on IBEX_EMBEDDER_PORT."""

from hotpath.embedder.service import EmbedderService
from ibex.embedding_models import chosen_model
from ibex.serving import http_server, run_process
from ibex.settings import Settings


def main(settings: Settings) -> int:
    chosen_model(settings)  # a wrong name stops the start
    failed = False

    def give_up() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    service = EmbedderService(settings, give_up)
    server = http_server(service, settings, settings.embedder_port)
    server.run()
    return 1 if failed else 0


if __name__ == "__main__":
    run_process(main)
