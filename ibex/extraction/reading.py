"""A stored turn as extraction reads it: what the client sent and what the model answered."""

from collections.abc import Mapping
from typing import Any

from ibex.conversation import text_of
from ibex.extraction.transcript import TurnMessage, TurnText
from ibex.stores.sessions import StoredTurn


def turn_text(turn: StoredTurn) -> TurnText:
    """Messages without a text (a call of a tool, an image) are left out."""
    messages = [*(turn.messages or ()), *([turn.response] if turn.response else ())]
    read = (_message(message) for message in messages)
    return TurnText(turn.number, turn.created_at, tuple(one for one in read if one.text))


def _message(message: Mapping[str, Any]) -> TurnMessage:
    name, message_id = message.get("name"), message.get("id")
    return TurnMessage(
        role=str(message.get("role", "")),
        text=text_of(message.get("content")),
        name=name if isinstance(name, str) else None,
        message_id=message_id if isinstance(message_id, str) else None,
    )
