"""A turn comes out of the spool as it went in."""

from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from asyncpg.pgproto import pgproto

from ibex.conversation import outline
from ibex.ids import new_id
from ibex.sessions import NewTurn, advanced, new_session
from ibex.spooled_turns import decode_turn, encode_turn, key_of
from ibex.stores.injections import Injection

NOW = datetime(2026, 11, 20, 12, 30, 1, 5, tzinfo=UTC)


def turn_of(session_name: str | None) -> NewTurn:
    session = new_session(new_id(), new_id(), pgproto.UUID(str(new_id())), session_name)
    messages = [{"role": "user", "content": "Grüße \0"}]
    return NewTurn(
        org_id=session.org_id,
        session_id=session.id,
        request_id="req_1",
        messages=messages,
        response={"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
        model="m",
        resent=True,
        complete=False,
        finish_reason="stop",
        prompt_tokens=3,
        started_at=NOW,
        created_at=NOW,
        injection=Injection(
            b'[{"memory_id":"1","score":0.5}]',
            None,
            2,
            30,
            b"\0\xff",
            insertions=b'[{"position":2}]',
            dropped=b"[]",
            decisions=b'[{"anchor":"00"}]',
            degraded=["cold"],
        ),
        opened=session,
        found_by_content=True,
        retried=True,
        request_key=b"\1" * 32,
    )


@pytest.mark.parametrize("name", [None, "s-1"])
@pytest.mark.parametrize("user", [None, "u-1"])
def test_a_turn_comes_back(name: str | None, user: str | None) -> None:
    turn = turn_of(name)
    assert turn.opened is not None
    spooled = decode_turn(encode_turn(turn, turn.opened, user))
    assert spooled.user == user
    back = spooled.turn
    assert back.opened is not None
    assert replace(back, opened=None) == replace(turn, opened=None)
    assert replace(back.opened, last_turn_at=turn.opened.last_turn_at) == turn.opened
    plain = replace(turn, injection=None, request_key=None, response=None, outline=outline([]))
    assert decode_turn(encode_turn(plain, turn.opened, None)).turn.injection is None


def test_the_turns_of_a_session_have_one_key() -> None:
    turn = turn_of("s-1")
    assert turn.opened is not None
    after = advanced(turn.opened, turn)
    assert key_of(after) == key_of(turn.opened) == key_of(replace(after, id=new_id()))
    assert key_of(replace(after, user_id=None)) != key_of(after)


def test_what_is_no_turn_is_refused() -> None:
    for payload in (b"{", b"[]", b'{"version": 2}', orjson.dumps({"version": 1})):
        with pytest.raises((ValueError, LookupError, TypeError)):
            decode_turn(payload)
