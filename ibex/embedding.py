"""The embedding service's client: texts in, unit vectors out."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import orjson
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from ibex.errors import EmbedderUnavailableError, InvalidRequestError

DIMENSIONS = 384
MAX_TEXTS = 512  # in one request
VECTORS = "application/octet-stream"  # rows of little-endian float32, one after the other
ROW_TYPE = np.dtype("<f4")

Matrix = npt.NDArray[np.float32]  # shape (n, 384), each row of unit length


class EmbedderClient:
    """One pool of connections; safe to share between tasks of one loop."""

    def __init__(self, base_url: str, *, timeout: float) -> None:
        """`timeout` in seconds for each request of at most 512 texts."""
        self._url = f"{base_url.rstrip('/')}/embed"
        self._client = ClientBuilder().no_proxy().timeout(timedelta(seconds=timeout)).build()

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """Row i is the vector of `texts[i]`.

        Raises EmbedderUnavailableError when the service does not answer, is not warm or is too
        busy, and InvalidRequestError when it refuses a text (an empty one).
        """
        parts = [
            await self._request(texts[start : start + MAX_TEXTS])
            for start in range(0, len(texts), MAX_TEXTS)
        ]
        return np.concatenate(parts) if parts else np.empty((0, DIMENSIONS), np.float32)

    async def close(self) -> None:
        await self._client.close()

    async def _request(self, texts: Sequence[str]) -> Matrix:
        try:
            body = orjson.dumps({"texts": list(texts)})
        except TypeError:
            raise InvalidRequestError("A text to embed is not valid Unicode text.") from None
        request = (
            self._client.post(self._url)
            .header("content-type", "application/json")
            .header("accept", VECTORS)
            .body_bytes(body)
            .build()
        )
        try:
            response = await request.send()
            content = bytes(await response.bytes())
        except PyreqwestError as error:
            raise EmbedderUnavailableError(
                f"The embedding service does not answer ({type(error).__name__})."
            ) from error
        if response.status in (400, 413):
            raise InvalidRequestError(f"The embedding service refused the {len(texts)} texts.")
        if response.status != 200:
            raise EmbedderUnavailableError(f"The embedding service answered {response.status}.")
        if len(content) != len(texts) * DIMENSIONS * ROW_TYPE.itemsize:
            raise EmbedderUnavailableError(
                f"The embedding service sent {len(content)} bytes for {len(texts)} texts."
            )
        rows = np.frombuffer(content, ROW_TYPE).reshape(len(texts), DIMENSIONS)
        return rows.astype(np.float32, copy=False)
