"""A turn as the bytes of a spooled record, and back.

What PostgreSQL would have said was not known when the turn was held, so the record carries names as
well: of the session, of the user. They are looked up when the record is drained.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from ibex.sessions import NewTurn, Session, new_session
from ibex.stores.injections import Injection

_VERSION: Final = 1


@dataclass(frozen=True)
class SpooledTurn:
    turn: NewTurn  # `opened` says whose it is
    user: str | None  # the application's id of a user whom PostgreSQL could not be asked for


def key_of(session: Session) -> str:
    """The turns of a session have the same key."""
    owner = f"{session.org_id}/{session.agent_id}/{session.user_id}"
    return f"{owner}/{session.external_id or session.id}"


def encode_turn(turn: NewTurn, opened: Session, user: str | None) -> bytes:
    """Raises TypeError when a message cannot be written as JSON."""
    injection = turn.injection
    return orjson.dumps(
        {
            "version": _VERSION,
            "org_id": opened.org_id,
            "agent_id": opened.agent_id,
            "user_id": opened.user_id,
            "user": user,
            "session_id": opened.id,
            "external_id": opened.external_id,
            "session_started_at": opened.started_at,
            "stored": opened.stored,
            "turn_count": opened.turn_count,
            "request_id": turn.request_id,
            "messages": list(turn.messages),
            "response": turn.response,
            "model": turn.model,
            "resent": turn.resent,
            "complete": turn.complete,
            "finish_reason": turn.finish_reason,
            "prompt_tokens": turn.prompt_tokens,
            "completion_tokens": turn.completion_tokens,
            "started_at": turn.started_at,
            "created_at": turn.created_at,
            "found_by_content": turn.found_by_content,
            "retried": turn.retried,
            "request_key": _text(turn.request_key),
            "injection": None
            if injection is None
            else {
                **{name: orjson.Fragment(getattr(injection, name)) for name in _ARRAYS},
                **{name: getattr(injection, name) for name in _PLAIN},
                "sha256": _text(injection.sha256),
            },
        },
        default=_plain,
    )


def decode_turn(payload: bytes) -> SpooledTurn:
    """Raises ValueError, KeyError for what is not a turn of this version."""
    value = orjson.loads(payload)
    if value["version"] != _VERSION:
        raise ValueError("The spooled turn is of another version.")
    user_id = UUID(value["user_id"]) if value["user_id"] else None
    fresh = new_session(
        UUID(value["org_id"]),
        UUID(value["agent_id"]),
        user_id,
        value["external_id"],
        started_at=datetime.fromisoformat(value["session_started_at"]),
        session_id=UUID(value["session_id"]),
    )
    opened = replace(fresh, stored=value["stored"], turn_count=value["turn_count"])
    turn = NewTurn(
        org_id=opened.org_id,
        session_id=opened.id,
        opened=opened,
        started_at=_moment(value["started_at"]),
        created_at=_moment(value["created_at"]),
        request_key=_bytes(value["request_key"]),
        injection=_injection(value["injection"]),
        **{name: value[name] for name in _AS_THEY_ARE},
    )
    return SpooledTurn(turn, value["user"])


_AS_THEY_ARE: Final = (
    "request_id",
    "messages",
    "response",
    "model",
    "resent",
    "complete",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "found_by_content",
    "retried",
)


# Of an injection: what is JSON already, and what is written as it is.
_ARRAYS: Final = ("memories", "insertions", "dropped", "decisions")
_PLAIN: Final = ("directive_version", "position", "tokens", "degraded")


def _injection(value: Mapping[str, Any] | None) -> Injection | None:
    if value is None:
        return None
    known: dict[str, Any] = {
        **{name: orjson.dumps(value[name]) for name in _ARRAYS},
        **{name: value[name] for name in _PLAIN},
    }
    return Injection(sha256=_bytes(value["sha256"]) or b"", **known)


def _plain(value: object) -> object:
    """orjson writes UUID itself, but not the driver's own kind of it."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
