"""`ibex export` on real stores: every format says the same, and all of it."""

import csv
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from ibex.errors import InvalidRequestError, NotFoundError
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from tests.command_line import ibex as command
from tests.command_line import shown
from tests.integration import recorded
from tests.integration.remembering import remember
from tests.seeding import add_injection

pytestmark = pytest.mark.usefixtures("environment", "s3_server")
FORMULA = '=HYPERLINK("http://example.com")\nand "more", ü'


@pytest.fixture
async def shop(identity: IdentityStore, database: Database) -> dict[str, UUID]:
    """Two agents, a user with a session and memories, one of which a request was given."""
    org_id = await identity.create_organization("shop")
    clerk = await identity.create_agent(org_id, "clerk")
    cook = await identity.create_agent(org_id, "cook")
    ann = await identity.user(org_id, "ann")
    memory = await remember(database, org_id, clerk, FORMULA, user_id=ann)
    await remember(database, org_id, cook, "'The oven is -5 degrees off.")
    session = await recorded.add_session(database, org_id, clerk, user_id=ann)
    await recorded.add_session(database, org_id, cook)
    await add_injection(database, org_id, clerk, session, "r-1", [memory])
    return {"org": org_id, "memory": memory, "session": session, "ann": ann}


async def lines(*words: str) -> list[dict[str, Any]]:
    said = await shown("export", *words, "--org", "shop")
    return [json.loads(line) for line in said.splitlines()]


async def test_every_format_has_every_memory(shop: dict[str, UUID], tmp_path: Path) -> None:
    found = await lines("memories")
    assert [(row["agent"], row["user"], row["content"]) for row in found] == [
        ("clerk", "ann", FORMULA),
        ("cook", None, "'The oven is -5 degrees off."),
    ]
    assert found[0]["id"] == str(shop["memory"])
    assert [one["content"] for one in found[0]["statements"]] == [None]
    assert "embedding" not in found[0]

    for name in ("m.json", "m.csv", "m.parquet"):
        words = ("export", "memories", "--org", "shop", "-o", str(tmp_path / name))
        report = await command(*words)
        assert report["rows"] == 2
        assert report["bytes"] == (tmp_path / name).stat().st_size
    assert json.loads((tmp_path / "m.json").read_bytes()) == found
    cells = list(
        csv.DictReader(io.StringIO((tmp_path / "m.csv").read_bytes().decode(), newline=""))
    )
    assert [row["content"] for row in cells] == [f"'{FORMULA}", "''The oven is -5 degrees off."]
    assert cells[0]["confidence"] == "0.9"
    rows = pq.read_table(tmp_path / "m.parquet").to_pylist()
    assert [row["content"] for row in rows] == [row["content"] for row in found]
    assert json.loads(rows[0]["statements"]) == found[0]["statements"]
    assert rows[0]["created_at"] == datetime.fromisoformat(found[0]["created_at"])

    (vector,) = [
        row["embedding"] for row in await lines("memories", "--user", "ann", "--embeddings")
    ]
    assert vector == [1.0, *[0.0] * 383]
    assert [row["agent"] for row in await lines("memories", "--agent", "cook")] == ["cook"]


async def test_sessions_come_with_their_turns_wherever_these_are(
    shop: dict[str, UUID], database: Database, settings: Settings
) -> None:
    before = await lines("sessions")
    said = [[turn["messages"][0]["content"] for turn in row["turns"]] for row in before]
    assert said == [list(recorded.TALK)] * 2
    assert (before[0]["user"], before[0]["turn_count"]) == ("ann", 2)
    assert before[0]["models"] == ["sandbox"]

    objects = ObjectStore(settings)
    await SessionArchive(database, objects, settings).archive(shop["org"], shop["session"])
    await objects.close()
    async with database.tenant(shop["org"]) as connection:
        await connection.execute(
            "UPDATE ibex_core.session_turns SET messages = NULL, response = NULL "
            "WHERE org_id = $1 AND session_id = $2",
            shop["org"],
            shop["session"],
        )
    after = await lines("sessions")
    for row in (*before, *after):
        for turn in row["turns"]:
            for name in ("started_at", "created_at"):
                turn[name] = datetime.fromisoformat(turn[name]).astimezone(UTC)
    assert after == before


async def test_an_injection_is_a_row_a_memory(shop: dict[str, UUID]) -> None:
    (row,) = await lines("injections")
    assert (row["request_id"], row["memory_id"]) == ("r-1", str(shop["memory"]))
    assert (row["agent"], row["user"], row["score"], row["relevance"]) == (
        "clerk",
        "ann",
        0.75,
        0.9,
    )
    assert row["support"] is None


async def test_a_person_gets_one_archive(shop: dict[str, UUID], tmp_path: Path) -> None:
    path = tmp_path / "ann.zip"
    report = await command("export", "user", "ann", "--org", "shop", "-o", str(path))
    assert report == {"file": str(path), "sessions": 1, "memories": 1, "injections": 1}
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(files) == {
        "README.md",
        "profile.json",
        "sessions.jsonl",
        "memories.jsonl",
        "memories.csv",
        "injections.jsonl",
    }
    assert json.loads(files["memories.jsonl"])["content"] == FORMULA
    assert "oven" not in "".join(files.values())
    with pytest.raises(NotFoundError):
        await shown("export", "user", "bob", "--org", "shop", "-o", str(tmp_path / "bob.zip"))
    assert [one.name for one in tmp_path.iterdir()] == ["ann.zip"]


async def test_a_file_is_whole_or_not_there(shop: dict[str, UUID], tmp_path: Path) -> None:
    words = ("export", "memories", "--org", "shop")
    with pytest.raises(InvalidRequestError, match="format"):
        await shown(*words, "-o", str(tmp_path / "memories"))
    with pytest.raises(InvalidRequestError, match="written"):
        await shown(*words, "-o", str(tmp_path / "no" / "m.csv"))
    with pytest.raises(InvalidRequestError, match="--output"):
        await command(*words)
    assert shop
    assert not list(tmp_path.iterdir())
