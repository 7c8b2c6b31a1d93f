"""Turns as JSON lines, in windows that a model can read at once.

A line is JSON, so no message can pretend to be another line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import orjson

WINDOW_CHARACTERS: Final = 24_000  # about 6,000 tokens of English
_PIECE_CHARACTERS: Final = 12_000  # a longer message becomes several lines
_TOOL_CHARACTERS: Final = 4_000  # a tool's result is cut: what matters, the assistant says again
_ROLES: Final = frozenset({"user", "assistant", "tool", "document"})


@dataclass(frozen=True)
class TurnMessage:
    """One message as the client sent it or the model answered it, or a part of a user's."""

    role: str  # also "document": what a user pasted
    text: str = field(repr=False)
    name: str | None = None  # of the speaker
    message_id: str | None = None  # the client's own


@dataclass(frozen=True)
class TurnText:
    number: int
    created_at: datetime
    messages: tuple[TurnMessage, ...]


@dataclass(frozen=True)
class Line:
    turn: int
    text: str = field(repr=False)


def memorable(turns: Sequence[TurnText]) -> list[TurnText]:
    """Without what no person, model or tool said: system and developer messages, empty ones."""
    kept = (
        TurnText(
            turn.number,
            turn.created_at,
            tuple(one for one in turn.messages if _role(one) in _ROLES and one.text.strip()),
        )
        for turn in turns
    )
    return [turn for turn in kept if turn.messages]


def windows(turns: Sequence[TurnText]) -> list[list[Line]]:
    """The lines of all turns in order; a window has at most WINDOW_CHARACTERS or one line.

    A turn is kept whole where it fits.
    """
    result: list[list[Line]] = []
    used = 0
    for turn in turns:
        lines = list(_lines(turn))
        size = sum(len(line.text) for line in lines)
        if not result or used + size > WINDOW_CHARACTERS:
            result.append([])
            used = 0
        for line in lines:
            if result[-1] and used + len(line.text) > WINDOW_CHARACTERS:
                result.append([])
                used = 0
            result[-1].append(line)
            used += len(line.text)
    return result


def shown(message: TurnMessage) -> str:
    """What the model is shown of a message."""
    return message.text[:_TOOL_CHARACTERS] if _role(message) == "tool" else message.text


def _lines(turn: TurnText) -> Iterator[Line]:
    for message in turn.messages:
        role = _role(message)
        for piece in _pieces(shown(message)):
            line = {"turn": turn.number, "at": _moment(turn.created_at), "role": role}
            if message.name:
                line["name"] = message.name
            line["text"] = piece
            yield Line(turn.number, orjson.dumps(line).decode())


def _pieces(text: str) -> Iterator[str]:
    """Parts of at most _PIECE_CHARACTERS, cut at a blank where there is one."""
    while len(text) > _PIECE_CHARACTERS:
        cut = max(text.rfind(" ", 0, _PIECE_CHARACTERS), text.rfind("\n", 0, _PIECE_CHARACTERS))
        cut = cut if cut > 0 else _PIECE_CHARACTERS
        yield text[:cut]
        text = text[cut:].lstrip()
    if text:
        yield text


def _role(message: TurnMessage) -> str:
    """`function` is what OpenAI called `tool` before."""
    return "tool" if message.role == "function" else message.role


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
