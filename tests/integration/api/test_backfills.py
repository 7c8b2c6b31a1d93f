"""Backfills as the API shows and takes them."""

from ibex.backfills.model import State
from ibex.ids import new_id
from ibex.stores.identity import IdentityStore
from tests.integration.api.conftest import Api
from tests.rereading import ECHO, HOST, SHORT, Place, fact

SINCE = {"since": "2026-01-01T00:00:00Z"}


async def test_a_backfill_is_asked_for_compared_switched_and_given_back(
    api: Api, without_content: Api, stranger: Api, place: Place
) -> None:
    await place.session(fact(ECHO))
    for wrong, status in (
        ({**SINCE, "agent": "nobody"}, 404),
        ({**SINCE, "prompt": "v9"}, 400),
        ({"since": "2026-01-01"}, 400),
        ({"since": "2030-01-01T00:00:00Z"}, 400),
        ({**SINCE, "until": "2025-01-01T00:00:00Z"}, 400),
    ):
        assert (await api.call("POST", "/backfills", wrong)).status == status, wrong
    assert (await without_content.call("POST", "/backfills", SINCE)).status == 403
    answer = await api.call("POST", "/backfills", {**SINCE, "agent": "assistant"})
    assert (answer.status, answer.body["status"], answer.body["sessions"]) == (202, "waiting", 1)
    path = f"/backfills/{answer.body['id']}"
    made = await place.store.backfill(place.org_id, (await place.store.due(1))[0].id)
    assert (await api.call("POST", f"{path}/switch")).status == 409
    await place.run(made)

    assert (await api.get(path))["status"] == "ready"
    difference = await without_content.get(f"{path}/difference")
    (of_agent,) = difference["agents"]
    assert (of_agent["added"], of_agent["gone"], of_agent["changed"]) == (2, 1, 0)
    assert (difference["before"]["statements"], difference["after"]["statements"]) == (1, 2)
    assert difference["after"]["prompt_tokens"] > 0
    for reader, words in ((api, {HOST, SHORT}), (without_content, {None})):
        added = (await reader.get(f"{path}/changes?kind=added"))["items"]
        assert {one["after"] for one in added} == words
    (gone,) = (await api.get(f"{path}/changes?kind=gone"))["items"]
    assert gone["before"] == ECHO
    assert len(await api.every_id(f"{path}/changes", 1)) == 3

    asked = await api.call("POST", f"{path}/switch")
    assert (asked.status, asked.body["status"]) == (202, "switching")
    await place.run(made)
    assert (await api.call("POST", f"{path}/discard")).status == 409
    assert (await api.call("POST", f"{path}/revert")).body["status"] == "reverting"
    await place.run(made)
    assert set(await place.believed()) == {ECHO}
    assert (await api.call("POST", f"{path}/discard")).body["status"] == State.DISCARDED
    assert (await api.get(f"{path}/changes"))["items"] == []

    for other in (path, f"/backfills/{new_id()}", "/backfills/x"):
        for end in ("", "/difference", "/changes"):
            assert (await stranger.call("GET", f"{other}{end}")).status == 404
        for end in ("run", "switch", "revert", "discard"):
            assert (await stranger.call("POST", f"{other}/{end}")).status == 404
    assert (await stranger.get("/backfills"))["items"] == []


async def test_an_agent_s_token_sees_its_own_part(
    api: Api, anonymous: Api, place: Place, identity: IdentityStore
) -> None:
    await place.session(fact(ECHO))
    other = await identity.create_agent(place.org_id, "other")
    elsewhere = Place(place.tools, place.org_id, other)
    await elsewhere.session(fact(ECHO))
    scopes = ("read", "write", "content")
    bound = anonymous.with_token(
        (await identity.create_token(place.org_id, "one", agent_id=other, scopes=scopes)).text
    )
    whole = (await api.call("POST", "/backfills", SINCE)).body
    single = (await api.call("POST", "/backfills", {**SINCE, "agent": "assistant"})).body
    own = (await bound.call("POST", "/backfills", SINCE)).body
    assert (whole["sessions"], own["sessions"], own["agent"]) == (2, 1, "other")
    for due in await place.store.due(9):
        await place.runner().run(place.org_id, due.id)

    assert await bound.every_id("/backfills", 10) == [own["id"], whole["id"]]
    assert (await bound.get(f"/backfills/{whole['id']}"))["sessions"] == 1
    difference = await bound.get(f"/backfills/{whole['id']}/difference")
    assert [one["agent"] for one in difference["agents"]] == ["other"]
    assert difference["unchanged"] is None
    changes = (await bound.get(f"/backfills/{whole['id']}/changes"))["items"]
    assert {one["agent"] for one in changes} == {"other"}
    assert (await bound.call("GET", f"/backfills/{single['id']}")).status == 404
    assert (await bound.call("POST", f"/backfills/{whole['id']}/switch")).status == 403
    assert (await bound.call("POST", f"/backfills/{own['id']}/switch")).status == 202
