"""Files over the API: whose rows, in which format, by whom, and how many at once."""

import csv
import io
from collections.abc import AsyncGenerator
from uuid import UUID

import orjson
import pyarrow.parquet as pq
import pytest

from api.streaming import Exports
from ibex.errors import RateLimitedError
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.turns import TurnReader
from ibex.transfer.exporting import Exporter, Scope
from ibex.transfer.formats import Format
from ibex.transfer.tables import Table
from tests.integration.api.conftest import Api
from tests.integration.recorded import TALK, add_session
from tests.integration.remembering import remember
from tests.seeding import add_injection


async def bytes_of(api: Api, path: str) -> bytes:
    request = api.http.get(f"{api.base}{path}").header("Authorization", f"Bearer {api.token}")
    response = await request.build().send()
    assert response.status == 200
    assert "attachment" in response.headers["content-disposition"]
    return bytes(await response.bytes())


async def lines(api: Api, path: str) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in (await bytes_of(api, path)).splitlines()]


async def test_tables_are_files_of_every_format(
    api: Api, database: Database, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    ann = await identity.user(org_id, "ann")
    memory = await remember(database, org_id, agent_id, "=1+1", user_id=ann)
    await remember(database, org_id, agent_id, "The host is b.")
    session = await add_session(database, org_id, agent_id)
    await add_injection(database, org_id, agent_id, session, "r-1", [memory])

    said = ["=1+1", "The host is b."]
    assert [row["content"] for row in await lines(api, "/memories/export")] == said
    rows = csv.DictReader(
        io.StringIO((await bytes_of(api, "/memories/export?format=csv")).decode())
    )
    assert [row["content"] for row in rows] == ["'=1+1", "The host is b."]
    array = orjson.loads(await bytes_of(api, "/memories/export?format=json&embeddings=true"))
    assert [len(row["embedding"]) for row in array] == [384, 384]
    table = pq.read_table(io.BytesIO(await bytes_of(api, "/memories/export?format=parquet")))
    assert table["content"].to_pylist() == said
    assert [row["content"] for row in await lines(api, "/memories/export?user=ann")] == said[:1]

    (found,) = await lines(api, f"/sessions/export?agent={agent_id}")
    assert str(TALK[0]) in str(found["turns"])
    (given,) = await lines(api, "/injections/export?agent=assistant")
    assert (given["memory_id"], given["score"]) == (str(memory), 0.75)
    for path in ("user=bob", "agent=nobody", "format=xml"):
        assert (await api.call("GET", f"/memories/export?{path}")).status in (400, 404)


async def test_content_is_for_those_who_may_see_it_and_an_agent_s_token_sees_its_own(
    api: Api, database: Database, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    cook = await identity.create_agent(org_id, "cook")
    await remember(database, org_id, agent_id, "The host is a.")
    await remember(database, org_id, cook, "The oven is hot.")
    blind = api.with_token((await identity.create_token(org_id, "b", scopes=["read"])).text)
    for table in ("memories", "sessions"):
        assert (await blind.call("GET", f"/{table}/export")).status == 403
    assert await lines(blind, "/injections/export") == []
    scopes = ["read", "content"]
    bound = await identity.create_token(org_id, "c", agent_id=cook, scopes=scopes)
    own = api.with_token(bound.text)
    assert [row["content"] for row in await lines(own, "/memories/export")] == ["The oven is hot."]
    assert (await own.call("GET", "/memories/export?agent=assistant")).status == 404


async def test_few_are_read_at_once_and_one_that_is_left_makes_room(
    database: Database, settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "INSERT INTO ibex_core.sessions (org_id, id, agent_id) "
            "SELECT $1, gen_random_uuid(), $2 FROM generate_series(1, 200)",
            org_id,
            agent_id,
        )
    turns = TurnReader.of(database, ObjectStore(settings), settings)
    exports = Exports(Exporter(database, turns))

    async def begin() -> AsyncGenerator[bytes, None]:
        answer = await exports.answer(Table.SESSIONS, Scope(org_id), Format.JSONL)
        pieces = answer.body_iterator
        assert isinstance(pieces, AsyncGenerator)
        return pieces

    read, left = await begin(), await begin()
    with pytest.raises(RateLimitedError):
        await begin()
    whole = b"".join([piece async for piece in read])
    assert len(whole.splitlines()) == 200
    await anext(left)
    await left.aclose()
    again = [await begin() for _ in range(2)]
    for pieces in again:
        await anext(pieces)
        await pieces.aclose()
