"""Turns as JSON lines, in windows that a model can read at once.

A line is JSON, so no message can pretend to be another line.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import orjson

from ibex.extraction.room import AMPLE, Room

_PIECE_CHARACTERS: Final = 12_000  # a longer message becomes several lines
_TOOL_CHARACTERS: Final = 4_000  # a tool's result is cut: what matters, the assistant says again
_LEAST_PIECE: Final = 64  # characters; a shorter one is not cut further
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


def windows(turns: Sequence[TurnText], room: Room = AMPLE) -> list[list[Line]]:
    """The lines of all turns in order; a window is within `room`, or has one line.

    A turn is kept whole where it fits.
    """
    result: list[list[Line]] = []
    used = (0, 0)

    def begin() -> None:
        nonlocal used
        result.append([])
        used = (0, 0)

    for turn in turns:
        lines = [(line, room.size(line.text)) for line in _lines(turn, room)]
        if not result or not room.holds(*_sum(used, *(size for _, size in lines))):
            begin()
        for line, size in lines:
            if result[-1] and not room.holds(*_sum(used, size)):
                begin()
            result[-1].append(line)
            used = _sum(used, size)
    return result


def halves(window: Sequence[Line]) -> tuple[list[Line], list[Line]] | None:
    """For a model that has no room for all of it; None: there is too little to part."""
    if len(window) > 1:
        middle = len(window) // 2
        return list(window[:middle]), list(window[middle:])
    (line,) = window
    fields = orjson.loads(line.text)
    if len(fields["text"]) <= _LEAST_PIECE:
        return None
    first, second = _parted(fields["text"])
    return [_line(line.turn, fields, first)], [_line(line.turn, fields, second)]


def _sum(*sizes: tuple[int, int]) -> tuple[int, int]:
    return sum(size[0] for size in sizes), sum(size[1] for size in sizes)


def shown(message: TurnMessage) -> str:
    """What the model is shown of a message."""
    return message.text[:_TOOL_CHARACTERS] if _role(message) == "tool" else message.text


def _lines(turn: TurnText, room: Room) -> Iterator[Line]:
    for message in turn.messages:
        fields = {"turn": turn.number, "at": _moment(turn.created_at), "role": _role(message)}
        if message.name:
            fields["name"] = message.name
        for piece in _pieces(shown(message)):
            yield from _fitting(turn.number, fields, piece, room)


def _fitting(number: int, fields: Mapping[str, object], text: str, room: Room) -> Iterator[Line]:
    """As many lines as it takes for each to be within the room."""
    line = _line(number, fields, text)
    if len(text) <= _LEAST_PIECE or room.holds(*room.size(line.text)):
        yield line
        return
    for part in _parted(text):
        yield from _fitting(number, fields, part, room)


def _line(number: int, fields: Mapping[str, object], text: str) -> Line:
    return Line(number, orjson.dumps({**fields, "text": text}).decode())


def _pieces(text: str) -> Iterator[str]:
    """Parts of at most _PIECE_CHARACTERS, cut at a blank where there is one."""
    while len(text) > _PIECE_CHARACTERS:
        part, text = _cut(text, _PIECE_CHARACTERS)
        yield part
    if text:
        yield text


def _parted(text: str) -> tuple[str, str]:
    return _cut(text, len(text) // 2)


def _cut(text: str, limit: int) -> tuple[str, str]:
    """At the last blank within `limit`, else there; both parts say something."""
    blank = max(text.rfind(" ", 1, limit), text.rfind("\n", 1, limit))
    second = text[blank:].lstrip() if blank > 0 else ""
    return (text[:blank], second) if second else (text[:limit], text[limit:])


def _role(message: TurnMessage) -> str:
    """`function` is what OpenAI called `tool` before."""
    return "tool" if message.role == "function" else message.role


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
