"""What may be asked for."""

from typing import Any

from ibex.embedding import MAX_TEXTS
from ibex.errors import InvalidRequestError


def parse_texts(body: dict[str, Any]) -> list[str]:
    """`{"texts": [1 to 512 texts]}` or `{"text": "…"}`. Raises InvalidRequestError."""
    if ("texts" in body) == ("text" in body):
        raise InvalidRequestError("Send either 'texts', a list, or 'text'.")
    texts = [body["text"]] if "text" in body else body["texts"]
    if not isinstance(texts, list):
        raise InvalidRequestError("'texts' must be a list.")
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise InvalidRequestError(f"'texts' must hold 1 to {MAX_TEXTS} texts, not {len(texts)}.")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidRequestError(f"Text {place} is not text.")
        if not text.strip():
            raise InvalidRequestError(f"Text {place} is empty.")
    return texts
