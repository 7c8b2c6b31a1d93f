"""History goes in once, at its own times, and the rest of a file goes in when a line is wrong."""

from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from ibex.importing import Importer, ImportSummary, read_lines
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore


def conversation(messages: int, **changes: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {
        "agent": "assistant",
        "session_id": "c-1",
        "user": "u-1",
        "started_at": "2024-02-03T04:05:06Z",
        "messages": [
            {"role": roles[number % 2], "content": f"words {number}", "id": f"m{number}"}
            for number in range(messages)
        ],
    } | changes


@pytest.fixture
def importer(database: Database, org_id: UUID, agent_id: UUID) -> Importer:
    return Importer(org_id, IdentityStore(database), SessionStore(database))


async def run(importer: Importer, file: Path, *lines: dict[str, Any] | bytes) -> ImportSummary:
    file.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines)
    )
    summary = ImportSummary()
    for line in read_lines(file):
        summary = await importer.add(line, summary)
    return summary


async def test_a_conversation_becomes_a_completed_session_at_its_own_time(
    importer: Importer, tmp_path: Path, database: Database, org_id: UUID
) -> None:
    summary = await run(importer, tmp_path / "f", conversation(6))
    assert (summary.sessions, summary.turns, summary.errors) == (1, 3, ())
    async with database.tenant(org_id) as connection:
        session = await connection.fetchrow("SELECT * FROM ibex_core.sessions")
        job = await connection.fetchrow("SELECT * FROM ibex_core.extraction_jobs")
    assert session is not None
    assert job is not None
    assert (session["status"], session["origin"]) == ("completed", "import")
    assert session["started_at"].year == session["completed_at"].year == 2024
    assert job["status"] == "waiting"


async def test_importing_again_changes_nothing_and_growth_is_added(
    importer: Importer, tmp_path: Path, database: Database, org_id: UUID
) -> None:
    await run(importer, tmp_path / "f", conversation(4))
    again = await run(importer, tmp_path / "f", conversation(4))
    assert (again.sessions, again.turns, again.unchanged) == (0, 0, 1)
    grown = await run(importer, tmp_path / "f", conversation(6))
    assert (grown.sessions, grown.turns) == (1, 1)
    async with database.tenant(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ibex_core.session_turns") == 3


async def test_a_changed_history_is_refused_and_left_as_it_was(
    importer: Importer, tmp_path: Path
) -> None:
    await run(importer, tmp_path / "f", conversation(4))
    changed = conversation(4)
    changed["messages"][1]["content"] = "other words"
    summary = await run(importer, tmp_path / "f", changed)
    assert "other messages" in summary.errors[0].reason
    shorter = await run(importer, tmp_path / "f", conversation(2))
    assert len(shorter.errors) == 1


async def test_wrong_lines_are_reported_and_the_rest_goes_in(
    importer: Importer, tmp_path: Path
) -> None:
    summary = await run(
        importer,
        tmp_path / "f",
        conversation(2),
        b"not json",
        conversation(2, session_id="c-2", agent="nobody"),
        conversation(2, session_id="c-3"),
    )
    assert summary.sessions == 2
    assert [wrong.line for wrong in summary.errors] == [2, 3]
    assert "--create-agents" in summary.errors[1].reason


async def test_the_same_session_id_of_two_users_is_two_sessions(
    importer: Importer, tmp_path: Path
) -> None:
    summary = await run(importer, tmp_path / "f", conversation(2), conversation(2, user="u-2"))
    assert (summary.sessions, summary.errors) == (2, ())
