"""Archives of every version are read; what is written is what is read."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.errors import ArchiveDamagedError
from ibex.stores.archive_lines import SCHEMA_VERSION, ndjson, stored_turns

ORG, SESSION, AGENT = UUID(int=1), UUID(int=2), UUID(int=3)
OF_SESSION = {"agent_id": AGENT, "user_id": None, "external_id": "c-1", "origin": "proxy"}
#: As the first version was written to buckets; these bytes never change.
VERSION_1 = (
    b'{"agent_id":"00000000-0000-0000-0000-000000000003","chain_hash":"ab","complete":true,'
    b'"completion_tokens":2,"created_at":"2026-03-01T12:01:00.000001Z","external_id":"c-1",'
    b'"finish_reason":"stop","id":"00000000-0000-0000-0000-000000000004","message_count":2,'
    b'"messages":[{"content":"Hello.","role":"user"}],"model":"sandbox",'
    b'"org_id":"00000000-0000-0000-0000-000000000001","origin":"proxy","prompt_tokens":1,'
    b'"request_id":"r-1","response":{"content":"Hi.","role":"assistant"},"schema_version":1,'
    b'"session_id":"00000000-0000-0000-0000-000000000002",'
    b'"started_at":"2026-03-01T12:00:00Z","turn":1,"user_id":null}\n'
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moments = st.datetimes(timezones=st.just(UTC))


def row(number: int, **columns: Any) -> dict[str, Any]:
    return {
        "id": UUID(int=100 + number),
        "number": number,
        "request_id": f"r-{number}",
        "messages": [{"role": "user", "content": "Hello."}],
        "response": {"role": "assistant", "content": "Hi."},
        "message_count": 2 * number,
        "chain_hash": b"\xab",
        "model": "sandbox",
        "finish_reason": "stop",
        "complete": True,
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "started_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "created_at": datetime(2026, 3, 1, 12, 1, 0, 1, tzinfo=UTC),
    } | columns


def test_the_first_version_is_read() -> None:
    (turn,) = stored_turns(VERSION_1)
    assert (turn.number, turn.request_id, turn.model) == (1, "r-1", "sandbox")
    assert turn.messages == ({"role": "user", "content": "Hello."},)
    assert turn.response == {"role": "assistant", "content": "Hi."}
    assert turn.created_at - turn.started_at == timedelta(minutes=1, microseconds=1)


def test_today_the_same_bytes_are_written() -> None:
    assert SCHEMA_VERSION == 1, "a version of its own needs bytes of its own above"
    assert ndjson(ORG, SESSION, OF_SESSION, [row(1, id=UUID(int=4))]) == VERSION_1


@given(
    st.lists(
        st.tuples(
            st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), max_size=3),
            st.none() | st.fixed_dictionaries({"content": texts}),
            moments,
        ),
        max_size=4,
    )
)
def test_what_is_written_is_what_is_read(
    said: list[tuple[list[dict[str, Any]], dict[str, Any] | None, datetime]],
) -> None:
    """Also what holds line separators of any kind."""
    rows = [
        row(number, messages=messages, response=response, created_at=at)
        for number, (messages, response, at) in enumerate(said, 1)
    ]
    read = stored_turns(ndjson(ORG, SESSION, OF_SESSION, rows))
    assert [(list(one.messages or ()), one.response, one.created_at) for one in read] == said
    assert [one.number for one in read] == list(range(1, len(said) + 1))


@pytest.mark.parametrize(
    "data",
    [VERSION_1[:-40], b"{}\n", b"[]\n", VERSION_1.replace(b'"turn":1,', b""), b"secret words"],
    ids=["cut off", "empty", "no line", "without its number", "no JSON"],
)
def test_what_cannot_be_read_is_said_without_its_words(data: bytes) -> None:
    with pytest.raises(ArchiveDamagedError) as raised:
        stored_turns(data)
    assert "secret" not in str(raised.value)


def test_a_later_version_is_named() -> None:
    line = orjson.loads(VERSION_1) | {"schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(ArchiveDamagedError, match=f"version {SCHEMA_VERSION + 1}"):
        stored_turns(orjson.dumps(line))
