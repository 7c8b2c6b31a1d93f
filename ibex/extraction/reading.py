"""A stored turn as extraction reads it: what the client sent and what the model answered."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ibex.conversation import text_of
from ibex.extraction.pasted import parts_of
from ibex.extraction.transcript import TurnMessage, TurnText
from ibex.stores.sessions import StoredTurn


def turn_text(turn: StoredTurn) -> TurnText:
    """Messages without a text (a call of a tool, an image) are left out."""
    messages = [*(turn.messages or ()), *([turn.response] if turn.response else ())]
    read = (part for message in messages for part in _messages(message))
    return TurnText(turn.number, turn.created_at, tuple(one for one in read if one.text))


def _messages(message: Mapping[str, Any]) -> list[TurnMessage]:
    """One, or of a user who pasted something: the user's words and the document's, in order."""
    name, message_id = message.get("name"), message.get("id")
    whole = TurnMessage(
        role=str(message.get("role", "")),
        text=text_of(message.get("content")),
        name=name if isinstance(name, str) else None,
        message_id=message_id if isinstance(message_id, str) else None,
    )
    if whole.role != "user":
        return [whole]
    return [
        replace(whole, role="document", name=None, text=part.text)
        if part.is_pasted
        else replace(whole, text=part.text)
        for part in parts_of(whole.text)
    ]
