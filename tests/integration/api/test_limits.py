from uuid import UUID

from ibex.rate_limits import LARGEST
from ibex.stores.identity import IdentityStore
from tests.integration.api.conftest import Api


async def test_limits_are_set_read_and_taken_back(
    api: Api, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    token = await identity.create_token(org_id, "app")
    nothing = {"requests": None, "tokens": None}
    for path in ("/limits", f"/agents/{agent_id}/limits", f"/tokens/{token.id}/limits"):
        assert await api.get(path) == nothing
        for limits in ({"requests": 60, "tokens": 100_000}, {"requests": 0, "tokens": None}):
            answer = await api.call("PUT", path, limits)
            assert (answer.status, answer.body) == (200, limits)
            assert await api.get(path) == limits
        for wrong in ({"requests": -1}, {"tokens": LARGEST + 1}, {"request": 1}):
            assert (await api.call("PUT", path, wrong)).status == 400
        assert (await api.call("PUT", path, {})).status == 200
        assert await api.get(path) == nothing


async def test_an_agents_own_token_raises_no_limit(
    api: Api, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    token = await identity.create_token(
        org_id, "bound", agent_id=agent_id, scopes=("read", "write")
    )
    bound = api.with_token(token.text)
    assert (await bound.call("GET", "/agents/assistant/limits")).status == 200
    for path in ("/limits", "/agents/assistant/limits", f"/tokens/{token.id}/limits"):
        assert (await bound.call("PUT", path, {"requests": 1})).status == 403


async def test_another_organizations_limits_do_not_exist(
    stranger: Api, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    token = await identity.create_token(org_id, "app")
    for path in (f"/agents/{agent_id}/limits", f"/tokens/{token.id}/limits"):
        assert (await stranger.call("GET", path)).status == 404
        assert (await stranger.call("PUT", path, {"requests": 1})).status == 404
