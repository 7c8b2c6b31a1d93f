from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from ibex.errors import InvalidRequestError
from ibex.importing import parse_line, read_lines, split_turns

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def line(**changes: Any) -> bytes:
    conversation = {
        "agent": "support",
        "session_id": "c-1",
        "started_at": START.isoformat(),
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
        ],
    }
    return orjson.dumps(conversation | changes)


def test_a_turn_ends_with_an_answer() -> None:
    roles = ["assistant", "user", "tool", "assistant", "user"]
    messages = [
        {
            "role": role,
            "content": str(index),
            "created_at": (START + timedelta(minutes=index)).isoformat(),
        }
        for index, role in enumerate(roles)
    ]
    turns = split_turns(parse_line(line(messages=messages)))
    assert [len(turn.messages) for turn in turns] == [0, 2, 1]
    assert [turn.response is not None for turn in turns] == [True, True, False]
    assert [turn.number for turn in turns] == [1, 2, 3]
    assert turns[1].started_at == START + timedelta(minutes=1)
    assert turns[1].ended_at == START + timedelta(minutes=3)


def test_times_never_run_backwards() -> None:
    earlier = (START - timedelta(days=1)).isoformat()
    messages = [
        {"role": "user", "content": "a", "created_at": earlier},
        {"role": "assistant", "content": "b"},
    ]
    (turn,) = split_turns(parse_line(line(messages=messages)))
    assert turn.started_at == turn.ended_at == START


def test_unknown_fields_of_a_message_are_kept() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "t"}], "name": "Ada"}
    parsed = parse_line(line(messages=[message])).messages[0]
    assert parsed.model_dump(exclude_unset=True) == message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "Not JSON"),
        (b"[]", "line: "),
        (b"\xff\xfe", "Not JSON"),
        (line(messages=[]), "messages"),
        (line(messages=[{"role": "wizard", "content": "x"}]), "messages.0.role"),
        (line(started_at="yesterday"), "started_at"),
        (line(started_at="2026-01-31T12:00:00"), "started_at"),  # no time zone
        (line(agent=""), "agent"),
        (line(sesion="typo"), "sesion"),
    ],
)
def test_a_wrong_line_says_where(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_line(data)
    assert reason in caught.value.message


def test_the_reason_never_repeats_the_line() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_line(line(messages=[{"role": "user", "content": {"my secret": 1}}]))
    assert "secret" not in caught.value.message


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_bytes(b"{}\n\n  \n{}")
    lines = list(read_lines(file))
    assert [(read.number, read.data.strip()) for read in lines] == [(1, b"{}"), (4, b"{}")]
    assert lines[-1].end == file.stat().st_size
