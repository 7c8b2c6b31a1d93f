"""`ibex import` and `ibex db` on a real database: their options, and how they end."""

import asyncio
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from typer.testing import CliRunner, Result

from ibex.cli import app
from ibex.errors import NotFoundError
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.command_line import shown
from tests.integration.test_importing import conversation

pytestmark = pytest.mark.usefixtures("environment")


async def invoke(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


async def test_an_import_makes_agents_only_when_told(
    identity: IdentityStore, database: Database, tmp_path: Path
) -> None:
    org_id = await identity.create_organization("shop")
    file = tmp_path / "history.jsonl"
    lines = [orjson.dumps(conversation(4, agent="clerk")), b"{"]
    file.write_bytes(b"\n".join(lines))
    words = ("import", str(file), "--org", "shop")

    done = await invoke(*words, "--json")
    assert done.exit_code == 1
    assert orjson.loads(done.stdout)["sessions"] == 0
    assert [one["line"] for one in orjson.loads(done.stdout)["errors"]] == [1, 2]

    done = await invoke(*words, "--create-agents", "--json")
    assert done.exit_code == 1  # a line is wrong
    summary = orjson.loads(done.stdout)
    assert (summary["sessions"], summary["turns"]) == (1, 2)
    assert [one["line"] for one in summary["errors"]] == [2]
    assert await count(database, org_id) == 1

    file.write_bytes(lines[0])
    done = await invoke(*words)
    assert done.exit_code == 0
    assert "0 sessions with 0 turns recorded, 1 were there already" in " ".join(done.stderr.split())
    missing = await invoke("import", str(tmp_path / "nothing"))
    assert missing.exit_code == 2
    elsewhere = await invoke("import", str(file), "--org", "nobody")
    assert isinstance(elsewhere.exception, NotFoundError)


async def count(database: Database, org_id: UUID) -> int:
    async with database.tenant(org_id) as connection:
        sessions: int = await connection.fetchval("SELECT count(*) FROM ibex_core.sessions")
    return sessions


async def test_the_schema_goes_back_and_forth_to_a_revision(settings: Settings) -> None:
    await shown("db", "check")
    await shown("db", "downgrade", "0001")
    assert (await invoke("db", "check")).exception is not None
    await shown("db", "migrate", "--revision", "0003")
    assert (await invoke("db", "check")).exception is not None
    await shown("db", "migrate")
    await shown("db", "check")
