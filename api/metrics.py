"""What the API counts, and the pipeline's backlog, which it reads from PostgreSQL when asked.

Dagster's runs are too short to be scraped; what they leave behind in the database is not.
"""

import asyncio
import logging
import time
from typing import Final

from pydantic import SecretStr

from ibex.errors import DatabaseUnavailableError
from ibex.metrics import check_reader, counter, gauge, histogram, render
from ibex.stores.jobs import JobStore

_log = logging.getLogger("ibex.api")

_REQUESTS: Final = counter(
    "ibex_api_requests_total", "Requests by route.", ("method", "route", "status")
)
_TIME: Final = histogram("ibex_api_request_seconds", "Time to answer.", ("method", "route"))
_JOBS: Final = gauge(
    "ibex_pipeline_jobs",
    "Sessions by state of their extraction: waiting, leased, done, dead.",
    ("state",),
)
_OLDEST: Final = gauge(
    "ibex_pipeline_oldest_waiting_seconds",
    "How long the oldest claimable session has waited for a run; 0 without one.",
)
_FAILURES: Final = counter(
    "ibex_pipeline_read_failures_total", "The backlog could not be read; its gauges are left out."
)
_KEPT: Final = 5.0  # seconds for which what was read is good
_LIMIT: Final = 2.0  # seconds
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


def count(method: str, route: str, status: int, seconds: float) -> None:
    """`route` is the template of the path, "-" for an unknown one."""
    known = method if method in _METHODS else "other"
    _REQUESTS.labels(known, route, str(status)).inc()
    _TIME.labels(known, route).observe(seconds)


class Figures:
    def __init__(self, jobs: JobStore, token: SecretStr | None) -> None:
        self._jobs = jobs
        self._token = token
        self._reading = asyncio.Lock()
        self._read_at = -_KEPT

    async def page(self, authorization: str) -> bytes:
        """Everything, as text. Raises AuthenticationError."""
        check_reader(authorization, self._token)
        async with self._reading:
            if time.monotonic() - self._read_at >= _KEPT:
                await self._read()
        return await asyncio.to_thread(render)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(_LIMIT):
                backlog = await self._jobs.backlog()
        except (DatabaseUnavailableError, TimeoutError) as error:
            _log.warning("the backlog could not be read: %s", type(error).__name__)
            _FAILURES.inc()
            _JOBS.clear()
            _OLDEST.set(float("nan"))
            return
        self._read_at = time.monotonic()
        for state, jobs in backlog.jobs.items():
            _JOBS.labels(state).set(jobs)
        _OLDEST.set(backlog.oldest_waiting)
