"""`POST /embed` over frames, for those who wait for one vector: the same body, the same checks."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import grpc
import numpy as np
import orjson

from hotpath.embedder.model import Embedding
from hotpath.embedder.requests import parse_texts
from ibex.embedding import ROW_TYPE
from ibex.errors import EmbedderUnavailableError, InvalidRequestError
from ibex.rpc.frames import Answer, CallFailedError

Embed = Callable[[Sequence[str]], Awaitable[list[Embedding]]]


def framed(embed: Embed) -> Answer:
    """The answer is rows of little-endian float32, one a text."""

    async def answer(_: Mapping[str, str], message: bytes) -> bytes:
        try:
            embeddings = await embed(_texts(message))
        except InvalidRequestError as error:
            raise CallFailedError(grpc.StatusCode.INVALID_ARGUMENT, error.message) from None
        except EmbedderUnavailableError as error:
            raise CallFailedError(grpc.StatusCode.UNAVAILABLE, error.message) from None
        rows = np.concatenate([one.vector for one in embeddings])
        return rows.astype(ROW_TYPE, copy=False).tobytes()

    return answer


def _texts(message: bytes) -> list[str]:
    try:
        body = orjson.loads(message)
    except orjson.JSONDecodeError:
        raise InvalidRequestError("The message is not valid JSON.") from None
    if not isinstance(body, dict):
        raise InvalidRequestError("The message is not a JSON object.")
    return parse_texts(body)
