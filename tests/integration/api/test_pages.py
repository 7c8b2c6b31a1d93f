from uuid import UUID

from ibex.cursor import encode_cursor
from ibex.ids import new_id
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.integration.api.conftest import Api
from tests.seeding import add_memory, add_session, add_turn

COUNT = 7


async def test_every_listing_is_walked_without_loss_or_doubles(
    api: Api, identity: IdentityStore, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    agents = [agent_id, *[await identity.create_agent(org_id, f"a{n}") for n in range(COUNT)]]
    memories = [await add_memory(database, org_id, agent_id, f"Fact {n}.") for n in range(COUNT)]
    sessions = [await add_session(database, org_id, agent_id) for _ in range(COUNT)]
    for number in range(1, COUNT + 1):
        await add_turn(database, org_id, sessions[0], number, f"Say {number}.", "Done.")

    def newest_first(ids: list[object]) -> list[str]:
        return sorted(map(str, ids), reverse=True)

    for size in (1, 3, COUNT, 200):
        assert await api.every_id("/agents", size) == newest_first([*agents])
        assert await api.every_id("/agents/assistant/memories", size) == newest_first([*memories])
        assert await api.every_id("/sessions", size) == newest_first([*sessions])
        turns = await api.every_id(f"/sessions/{sessions[0]}/turns", size)
        assert len(turns) == len(set(turns)) == COUNT
        assert turns == sorted(turns)  # the order of the conversation
        assert len(await api.every_id("/tokens", size)) == 1


async def test_rows_that_arrive_in_between_move_no_page(
    api: Api, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    before = [str(await add_memory(database, org_id, agent_id, f"Fact {n}.")) for n in range(4)]
    path = "/agents/assistant/memories?limit=2"
    first = await api.get(path)
    await add_memory(database, org_id, agent_id, "A newer fact.")
    second = await api.get(f"{path}&cursor={first['next_cursor']}")
    found = [memory["id"] for page in (first, second) for memory in page["items"]]
    assert found == before[::-1]
    assert second["next_cursor"] is None


async def test_a_wrong_cursor_is_400(api: Api, agent_id: UUID) -> None:
    for listing in ("/agents", "/agents/assistant/memories", "/sessions", "/tokens"):
        for cursor in ("", "nonsense", "%00", str(new_id()), encode_cursor(new_id()) + "=="):
            answer = await api.call("GET", f"{listing}?cursor={cursor}")
            assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_request")


async def test_a_wrong_limit_is_400_and_names_the_field(api: Api) -> None:
    for limit in ("0", "201", "-1", "many"):
        answer = await api.call("GET", f"/agents?limit={limit}")
        assert (answer.status, answer.body["error"]["param"]) == (400, "limit")
