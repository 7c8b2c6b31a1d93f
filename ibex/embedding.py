"""The embedding service's client: texts in, unit vectors out."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import orjson

from ibex.errors import EmbedderUnavailableError, InvalidRequestError
from ibex.http1.pool import Origin, Pool, tls_context
from ibex.http1.wire import SilenceError, UnreachedError, WireError

DIMENSIONS = 384
MAX_TEXTS = 512  # in one request
VECTORS = "application/octet-stream"  # rows of little-endian float32, one after the other
ROW_TYPE = np.dtype("<f4")

Matrix = npt.NDArray[np.float32]  # shape (n, 384), each row of unit length


_HEADERS: Final = {"content-type": "application/json", "accept": VECTORS}


class EmbedderClient:
    """One pool of connections; safe to share between tasks of one loop."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float,
        model: str | None = None,
        background: bool = False,
    ) -> None:
        """`timeout` in seconds for each request of at most 512 texts. `model`: the one that the
        service has to have; None: whichever it has. `background`: questions go first."""
        parts = urlsplit(base_url)
        tls = tls_context() if parts.scheme == "https" else None
        origin = Origin(parts.hostname or "", parts.port or (443 if tls else 80), tls)
        self._path = f"{parts.path.rstrip('/')}/embed"
        self._timeout = timeout
        self._asked = {
            **({} if model is None else {"model": model}),
            **({"background": True} if background else {}),
        }
        self._pool = Pool(origin, connect_timeout=timeout, idle_timeout=timeout)

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """Row i is the vector of `texts[i]`.

        Raises EmbedderUnavailableError when the service does not answer, is not warm or is too
        busy, and InvalidRequestError, with its reason, when it refuses a text (an empty one) or
        has another model.
        """
        parts = [
            await self._request(texts[start : start + MAX_TEXTS])
            for start in range(0, len(texts), MAX_TEXTS)
        ]
        return np.concatenate(parts) if parts else np.empty((0, DIMENSIONS), np.float32)

    async def close(self) -> None:
        await self._pool.close()

    async def _request(self, texts: Sequence[str]) -> Matrix:
        try:
            body = orjson.dumps({"texts": list(texts), **self._asked})
        except TypeError:
            raise InvalidRequestError("A text to embed is not valid Unicode text.") from None
        try:
            async with asyncio.timeout(self._timeout):
                try:
                    status, content = await self._post(body)
                except (UnreachedError, SilenceError):
                    raise
                except WireError:  # it was closing just then; asking again changes nothing there
                    status, content = await self._post(body)
        except (WireError, TimeoutError) as error:
            raise EmbedderUnavailableError(
                f"The embedding service does not answer ({type(error).__name__})."
            ) from error
        if status in (400, 413):
            reason = _reason(content)
            raise InvalidRequestError(
                f"The embedding service refused the {len(texts)} texts{reason}"
            )
        if status != 200:
            raise EmbedderUnavailableError(f"The embedding service answered {status}.")
        if len(content) != len(texts) * DIMENSIONS * ROW_TYPE.itemsize:
            raise EmbedderUnavailableError(
                f"The embedding service sent {len(content)} bytes for {len(texts)} texts."
            )
        rows = np.frombuffer(content, ROW_TYPE).reshape(len(texts), DIMENSIONS)
        return rows.astype(np.float32, copy=False)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        response = await self._pool.request("POST", self._path, _HEADERS, body)
        try:
            chunks = []
            while (chunk := await response.read()) is not None:
                chunks.append(chunk)
        finally:
            response.close()
        return response.status, b"".join(chunks)


def _reason(content: bytes) -> str:
    """What IBEX's error envelope says; its messages hold names, numbers and nothing of a text."""
    try:
        return f": {orjson.loads(content)['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return "."
