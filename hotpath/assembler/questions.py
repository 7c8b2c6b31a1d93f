"""The vector of a question: by frames, and by HTTP where nobody takes them."""

from collections.abc import Sequence

import grpc
import numpy as np
import orjson

from ibex.embedding import DIMENSIONS, ROW_TYPE, EmbedderClient, Matrix
from ibex.errors import EmbedderUnavailableError, InvalidRequestError
from ibex.rpc.frames import CallFailedError, FrameClient, NotConnectedError


class QuestionEmbedder:
    """The same service as the client's, at half its price for a single text."""

    def __init__(self, client: EmbedderClient, frames: FrameClient, *, timeout: float) -> None:
        """`timeout` in seconds for each call."""
        self._client = client
        self._frames = frames
        self._timeout = timeout

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """As `EmbedderClient.embed`, of up to MAX_TEXTS texts."""
        try:
            message = orjson.dumps({"texts": list(texts)})
        except TypeError:
            raise InvalidRequestError("A text to embed is not valid Unicode text.") from None
        try:
            answer = await self._frames.call({}, message, self._timeout)
        except NotConnectedError:  # an earlier version of the service, or it is away
            return await self._client.embed(texts)
        except CallFailedError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise InvalidRequestError(
                    f"The embedding service refused the {len(texts)} texts."
                ) from None
            raise EmbedderUnavailableError(
                f"The embedding service does not answer ({error.code().name})."
            ) from None
        if len(answer) != len(texts) * DIMENSIONS * ROW_TYPE.itemsize:
            raise EmbedderUnavailableError(
                f"The embedding service sent {len(answer)} bytes for {len(texts)} texts."
            )
        rows = np.frombuffer(answer, ROW_TYPE).reshape(len(texts), DIMENSIONS)
        return rows.astype(np.float32, copy=False)
