from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from ibex.embedded.process import ProcessSpec
from ibex.embedding import EmbedderClient
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.writing import MemoryWriter
from ibex.settings import Settings
from ibex.stores.postgres import Database
from tests.integration.api.conftest import Api

FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
FIRST = "The staging database host is db1.example.com."
SECOND = "The staging database host is db2.example.com."


def fact(content: str, since: datetime) -> Fact:
    return Fact(
        Category.DECLARATIVE,
        content,
        0.8,
        Source.USER,
        (1,),
        subject="staging database",
        attribute="host",
        valid_from=since,
        tags=("Infra",),
    )


async def test_what_was_believed_on_a_date_and_how_it_came_to_an_end(
    api: Api,
    without_content: Api,
    settings: Settings,
    embedder_server: ProcessSpec,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=10)
    writer = MemoryWriter(database, embedder, settings)
    made_by = Provenance(None, "facts/1", "abc", "sandbox", "run-1")
    said = ((FIRST, FEBRUARY), (FIRST, FEBRUARY + timedelta(days=1)))
    for content, since in (*said, (SECOND, FEBRUARY + timedelta(days=28))):
        await writer.write(org_id, agent_id, None, [fact(content, since)], made_by, {1: since})
    await embedder.close()

    async def believed(filters: str) -> list[Any]:
        return [one["content"] for one in (await listed(filters))["items"]]

    async def listed(filters: str) -> Any:
        return await api.get(f"/agents/assistant/memories?{filters}")

    assert await believed("") == [SECOND]
    assert await believed("as_of=2026-01-31T00:00:00Z") == []
    assert await believed("as_of=2026-02-01T00:00:00Z") == [FIRST]
    assert await believed("as_of=2026-02-28T23:59:59Z") == [FIRST]
    assert await believed("as_of=2026-03-01T01:00:00%2B01:00") == [SECOND]
    assert await believed("tag=infra") == [SECOND]
    assert await believed("tag=INFRA&include_past=true") == [SECOND, FIRST]
    assert await believed("tag=other") == []
    for wrong in ("as_of=2026-02-01", "as_of=2026-02-01T00:00:00", "as_of=yesterday"):
        assert (await api.call("GET", f"/agents/assistant/memories?{wrong}")).status == 400, wrong
    tagged = await without_content.call("GET", "/agents/assistant/memories?tag=infra")
    assert tagged.status == 403

    newer, older = (await listed("include_past=true"))["items"]
    history = await api.get(f"/memories/{older['id']}/history")
    assert [(one["version"], one["change"]) for one in history["versions"]] == [
        (1, "created"),
        (2, "superseded"),
    ]
    assert history["versions"][1]["superseded_by"] == newer["id"]
    assert [(one["content"], one["valid_from"]) for one in history["statements"]] == [
        (FIRST, "2026-02-01T00:00:00Z"),
        (FIRST, "2026-02-02T00:00:00Z"),
    ]
    (edge,) = history["relationships"]
    assert (edge["kind"], edge["from_memory_id"], edge["to_memory_id"]) == (
        "supersedes",
        newer["id"],
        older["id"],
    )
    assert history["tags"] == ["infra"]
    hidden = await without_content.get(f"/memories/{older['id']}/history")
    assert hidden["tags"] is None
    assert hidden["relationships"][0]["reason"] is None
    assert FIRST not in str(hidden)
