"""What this process counts and measures, as Prometheus reads it (docs/observability.md).

A module makes its own at the top, once, and whichever process imports the module serves them at
/metrics:

    _TRIES = counter("ibex_thing_tries_total", "What a try is.", ("reason",))
    _TRIES.labels("timeout").inc()

All of them live in one registry of ours, not in the library's. Asking again for a name gives the
same metric. Several workers of one port write into files of a shared folder, and each of them
answers with the sum of all (`shared_by_workers`).
"""

import asyncio
import hmac
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeVar

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from pydantic import SecretStr

from ibex.asgi import Handler, Receive, Scope, Send, header, send_bytes
from ibex.errors import AuthenticationError

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

#: The only labels there are. Each has few values, and none says who asked or what was said.
LABELS: Final = frozenset(
    {
        "code",  # of an error of ours, ibex/errors.py
        "complete",  # true | false
        "direction",  # input | output
        "kind",
        "method",  # of gRPC, or of HTTP
        "origin",  # hot | cold | both | pinned
        "part",  # directive | hot | cold | embed | pinned
        "provider",  # as configured, never as a client names it
        "reason",
        "result",
        "route",  # the template, never the path
        "scope",  # token | agent | org
        "stage",  # auth | limits | session | context | upstream | commit
        "state",
        "status",
        "stream",  # true | false
    }
)
#: Upper bounds in seconds: fine where our budgets lie, coarse beyond.
MILLISECONDS: Final = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05),
    *(0.075, 0.1, 0.25, 0.5, 1.0, 2.5),
)
#: For what a model's own time is part of.
SECONDS: Final = (
    *(0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)

_WORKERS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"  # the library's own variable
_shared: Final = _WORKERS_FOLDER in os.environ  # the library looked when it was imported

M = TypeVar("M", bound=MetricWrapperBase)

disable_created_metrics()  # type: ignore[no-untyped-call]
_registry: Final = CollectorRegistry()
_metrics: Final[dict[str, MetricWrapperBase]] = {}
if not _shared:
    ProcessCollector(registry=_registry)
    GCCollector(registry=_registry)


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """`name` ends with `_total`. Raises ValueError for a label that is not in LABELS."""
    if not name.endswith("_total"):
        raise ValueError(f"the counter {name} does not end with _total")
    return _made(Counter, name, labels, lambda: Counter(name, text, labels, registry=_registry))


def gauge(
    name: str,
    text: str,
    labels: Sequence[str] = (),
    *,
    workers: Literal["livesum", "livemax"] = "livesum",
) -> Gauge:
    """Of several workers the sum over those that live, or the largest where all see the same."""
    return _made(
        Gauge,
        name,
        labels,
        lambda: Gauge(name, text, labels, registry=_registry, multiprocess_mode=workers),
    )


def histogram(
    name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = MILLISECONDS
) -> Histogram:
    """Observes seconds, so its name ends with `_seconds`, or says another unit."""
    return _made(
        Histogram,
        name,
        labels,
        lambda: Histogram(name, text, labels, registry=_registry, buckets=buckets),
    )


def defined() -> dict[str, tuple[str, ...]]:
    """Every metric of ours that this process knows, with its labels."""
    return {name: tuple(metric._labelnames) for name, metric in _metrics.items()}  # noqa: SLF001  the library has no other way


def render() -> bytes:
    """The text format. Takes milliseconds, so a service calls it in a thread."""
    if not _shared:
        return generate_latest(_registry)
    folder = Path(os.environ[_WORKERS_FOLDER])
    for file in folder.glob("gauge_live*_*.db"):
        worker = int(file.stem.rpartition("_")[2])
        if not psutil.pid_exists(worker):
            mark_process_dead(worker, str(folder))  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def check_reader(authorization: str, token: SecretStr | None) -> None:
    """`authorization` is the header; without a configured token everybody may read. Raises
    AuthenticationError."""
    if token is None:
        return
    expected = f"Bearer {token.get_secret_value()}".encode()
    if not hmac.compare_digest(authorization.encode("utf-8", "replace"), expected):
        raise AuthenticationError(
            "These metrics need their token.", hint="Send IBEX_METRICS_TOKEN as a bearer token."
        )


def handler(token: SecretStr | None) -> Handler:
    """`GET /metrics` of an `ibex.asgi.Service`."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        check_reader(header(scope, b"authorization"), token)
        await send_bytes(send, 200, await asyncio.to_thread(render), CONTENT_TYPE)

    return answer


@contextmanager
def shared_by_workers() -> Iterator[None]:
    """Processes that are started inside keep their metrics together. This process has none then."""
    folder = tempfile.mkdtemp(prefix="ibex-metrics-")
    os.environ[_WORKERS_FOLDER] = folder
    try:
        yield
    finally:
        del os.environ[_WORKERS_FOLDER]
        shutil.rmtree(folder, ignore_errors=True)


def _made(kind: type[M], name: str, labels: Sequence[str], make: Callable[[], M]) -> M:
    known = _metrics.get(name)
    if known is None:
        unknown = set(labels) - LABELS
        if unknown:
            raise ValueError(f"{name}: {', '.join(sorted(unknown))} is no label in ibex.metrics")
        known = _metrics[name] = make()
    if not isinstance(known, kind) or tuple(known._labelnames) != tuple(labels):  # noqa: SLF001  the library has no other way
        raise ValueError(f"{name} is there already, and different")
    return known
