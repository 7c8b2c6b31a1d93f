"""`python -m hotpath.embedder`: the embedding service on IBEX_EMBEDDER_PORT."""

from hotpath.embedder.model import MODEL_NAME
from hotpath.embedder.service import EmbedderService
from ibex.errors import ConfigurationError
from ibex.serving import http_server, run_process
from ibex.settings import Settings


def main(settings: Settings) -> int:
    if settings.embedding_model != MODEL_NAME:
        raise ConfigurationError(
            f"IBEX_EMBEDDING_MODEL is {settings.embedding_model!r}; the embedder has {MODEL_NAME}."
        )
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
