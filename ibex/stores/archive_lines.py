"""The lines of a session's archive: what is written, and how every version of it is read.

A line is a checkpoint. The same turns give the same bytes: keys are sorted, times are UTC with
microseconds. A new version only adds; whoever reads takes every version that was ever written.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from ibex.errors import ArchiveDamagedError
from ibex.sessions import StoredTurn

SCHEMA_VERSION: Final = 1
_FORMAT = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


def ndjson(
    org_id: UUID,
    session_id: UUID,
    session: Mapping[str, Any],
    turns: Sequence[Mapping[str, Any]],
) -> bytes:
    """A line for each turn, in order. `turns` as the columns of session_turns."""
    common: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "org_id": org_id,
        "session_id": session_id,
        "agent_id": session["agent_id"],
        "user_id": session["user_id"],
        "external_id": session["external_id"],
        "origin": session["origin"],
    }
    return b"".join(
        orjson.dumps(
            common
            | {("turn" if name == "number" else name): value for name, value in turn.items()}
            | {"chain_hash": turn["chain_hash"].hex()},
            default=_text_of_id,
            option=_FORMAT,
        )
        for turn in turns
    )


def stored_turns(data: bytes) -> list[StoredTurn]:
    """The turns of an archive, in order. Raises ArchiveDamagedError, which says nothing of them."""
    try:
        return [_stored_turn(orjson.loads(line)) for line in data.splitlines()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArchiveDamagedError(
            f"The session's archive cannot be read ({type(error).__name__})."
        ) from None


def _stored_turn(line: Mapping[str, Any]) -> StoredTurn:
    if line["schema_version"] > SCHEMA_VERSION:
        raise ArchiveDamagedError(
            f"The session's archive has version {line['schema_version']:d} of its schema; this "
            f"IBEX knows up to {SCHEMA_VERSION}.",
            hint="Read it with the version of IBEX that wrote it, or a newer one.",
        )
    return StoredTurn(
        number=line["turn"],
        request_id=line["request_id"],
        messages=tuple(line["messages"]),
        response=line["response"],
        model=line["model"],
        finish_reason=line["finish_reason"],
        complete=line["complete"],
        prompt_tokens=line["prompt_tokens"],
        completion_tokens=line["completion_tokens"],
        started_at=datetime.fromisoformat(line["started_at"]),
        created_at=datetime.fromisoformat(line["created_at"]),
    )


def _text_of_id(value: object) -> str:
    """orjson takes a UUID, but not the subclass of it that asyncpg returns."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError
