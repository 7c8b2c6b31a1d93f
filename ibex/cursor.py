"""The one codec of page cursors: base64url of the last id on the page, opaque to the client."""

import base64
import binascii
from uuid import UUID

from ibex.errors import InvalidRequestError


def encode_cursor(last_id: UUID) -> str:
    """22 characters."""
    return base64.urlsafe_b64encode(last_id.bytes).decode().rstrip("=")


def decode_cursor(text: str) -> UUID:
    """Raises InvalidRequestError for anything that `encode_cursor` does not give."""
    try:
        last_id = UUID(bytes=base64.b64decode(f"{text}==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        last_id = None
    if last_id is None or encode_cursor(last_id) != text or last_id.version != 7:
        raise InvalidRequestError(
            "The cursor is not one that this API gave.",
            hint="Send 'next_cursor' of the page before as it was, or leave 'cursor' out.",
        )
    return last_id
