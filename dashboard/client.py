"""The management API over HTTP: all that the dashboard knows.

Nothing is kept between two calls, so nobody ever sees what was fetched with another's token.

Streamlit runs pages in threads that come and go. pyreqwest 0.15, which the services use, crashes
the process there: once the thread that imported it has ended, the next request of another thread
is a segmentation fault. urllib3's pool is made for threads.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError

_TIMEOUT = urllib3.Timeout(connect=2.0, total=10.0)
_DEFAULT_PORT = "8081"


class ApiError(Exception):
    """What went wrong, in words for the operator; never content."""


class ApiUnavailableError(ApiError):
    """Nobody answers at the API's address."""


class ApiRefusedError(ApiError):
    """The API answered with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def api_url() -> str:
    """`IBEX_API_URL`, or this machine with `IBEX_API_PORT`."""
    port = os.environ.get("IBEX_API_PORT") or _DEFAULT_PORT
    return (os.environ.get("IBEX_API_URL") or f"http://127.0.0.1:{port}").rstrip("/")


# Connections only: it holds no cookies and no tokens. A GET is tried once more, because the API
# may have closed an idle connection.
_http = urllib3.PoolManager(
    maxsize=8,
    timeout=_TIMEOUT,
    retries=urllib3.Retry(1, redirect=0, raise_on_redirect=False, allowed_methods={"GET"}),
)


@dataclass(frozen=True)
class Api:
    """The API as one token sees it."""

    base_url: str
    token: str = field(repr=False)

    def get(self, path: str, **query: object) -> Any:
        """The JSON of `/api/v1{path}`; parameters that are None or empty are left out.

        Raises ApiUnavailableError, ApiRefusedError.
        """
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return self._send("GET", f"{path}?{urlencode(given)}" if given else path)

    def put(self, path: str, body: Mapping[str, object]) -> Any:
        return self._send("PUT", path, body)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        return self._send("POST", path, body)

    def _send(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        try:
            response = _http.request(
                method,
                f"{self.base_url}/api/v1{path}",
                headers={"Authorization": f"Bearer {self.token}"},
                json=body,
            )
            answer = response.json()
        except (HTTPError, ValueError) as error:
            raise ApiUnavailableError(
                f"The API does not answer at {self.base_url} ({type(error).__name__}). "
                "'ibex status' shows what is down."
            ) from error
        if response.status >= 400:
            wrong = answer.get("error", {}) if isinstance(answer, dict) else {}
            raise ApiRefusedError(
                response.status,
                str(wrong.get("code", "unknown")),
                str(wrong.get("message", f"The API answered with {response.status}.")),
            )
        return answer


def segment(text: object) -> str:
    """`text` as one segment of a path."""
    return quote(str(text), safe="")
