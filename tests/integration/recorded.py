"""Sessions as the proxy leaves them, put straight into the tables."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ibex.ids import new_id
from ibex.stores.postgres import Database

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TALK = ("My database host is db.smoketest.example.com.", "I prefer short answers.")


async def add_session(
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    *,
    said: Sequence[str] = TALK,
    user_id: UUID | None = None,
    completed: bool = True,
) -> UUID:
    """A session with one turn for each text; completed, with its job waiting."""
    session_id = new_id()
    async with database.tenant(org_id) as connection:
        await connection.execute(
            """
            INSERT INTO ibex_core.sessions
              (org_id, id, agent_id, user_id, status, started_at, last_turn_at, completed_at)
            VALUES ($1, $2, $3, $4, $5, $6, $6, $7)
            """,
            org_id,
            session_id,
            agent_id,
            user_id,
            "completed" if completed else "active",
            START,
            START if completed else None,
        )
        if completed:
            await connection.execute(
                """
                INSERT INTO ibex_core.extraction_jobs (org_id, id, session_id)
                VALUES ($1, $2, $3)
                """,
                org_id,
                new_id(),
                session_id,
            )
    for text in said:
        await add_turn(database, org_id, session_id, text)
    return session_id


async def add_turn(database: Database, org_id: UUID, session_id: UUID, text: str) -> None:
    async with database.tenant(org_id) as connection:
        number: int = await connection.fetchval(
            """
            UPDATE ibex_core.sessions
            SET turn_count = turn_count + 1, message_count = message_count + 2
            WHERE org_id = $1 AND id = $2 RETURNING turn_count
            """,
            org_id,
            session_id,
        )
        await connection.execute(
            """
            INSERT INTO ibex_core.session_turns (
              org_id, id, session_id, number, request_id, messages, response, message_count,
              chain_hash, model, finish_reason, started_at, created_at
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'sandbox', 'stop', $10, $10)
            """,
            org_id,
            new_id(),
            session_id,
            number,
            str(new_id()),
            [{"role": "user", "content": text, "id": f"m-{number}"}],
            {"role": "assistant", "content": "Noted."},
            2 * number,
            hashlib.sha256(text.encode()).digest(),
            START + timedelta(minutes=number),
        )


async def drop_content(database: Database, org_id: UUID, session_id: UUID) -> None:
    """Of all turns, without asking whether an archive has it."""
    async with database.tenant(org_id) as connection:
        await connection.execute(
            """
            UPDATE ibex_core.session_turns SET messages = NULL, response = NULL
            WHERE org_id = $1 AND session_id = $2
            """,
            org_id,
            session_id,
        )


async def let_time_pass(database: Database, org_id: UUID) -> None:
    """Leases of archives end, and what failed may be tried again."""
    async with database.tenant(org_id) as connection:
        await connection.execute(
            """
            UPDATE ibex_core.archive_uploads
            SET lease_until = lease_until - interval '1 day', available_at = now()
            WHERE org_id = $1
            """,
            org_id,
        )
