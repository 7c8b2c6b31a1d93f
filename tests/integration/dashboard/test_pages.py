"""The pages against the real API. AppTest runs a page in a thread and shows what it drew."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from ibex.checks.catalogue import CHECKS, Name, Result, Seen
from ibex.extraction.prompts import BUILT_IN
from ibex.settings import Settings
from ibex.stores.checks import CheckStore
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.conftest import free_port
from tests.rereading import ECHO, HOST, Place, fact
from tests.seeding import add_injection, add_memory, add_session, add_turn, insert

APP = Path(dashboard.__file__).parent / "app.py"
HOSTILE = "<img src=x onerror=alert(1)> **bold** [link](http://evil.example) :red[x]"


def shown(app: AppTest) -> str:
    """Every text on the page, tables included."""
    kinds = (app.title, app.subheader, app.text, app.caption, app.markdown, app.error, app.warning)
    parts = [str(element.value) for kind in kinds for element in kind]
    parts += [f"{metric.label}={metric.value}" for metric in app.metric]
    parts += [table.value.to_string() for table in app.dataframe]
    assert not app.exception, app.exception
    return "\n".join(parts)


async def run(app: AppTest) -> AppTest:
    """Off the loop, which serves the API meanwhile."""
    return await asyncio.to_thread(app.run, timeout=30)


async def signed_in(token: str, page: str | None = None, **query: str) -> AppTest:
    app = await run(AppTest.from_file(str(APP)))
    app.text_input[0].set_value(token)
    app.button[0].click()
    await run(app)
    if page:
        app.switch_page(f"views/{page}.py")
        for name, value in query.items():
            app.query_params[name] = value
        await run(app)
    return app


@pytest.fixture
async def token(
    api_server: Settings,
    identity: IdentityStore,
    org_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setenv("IBEX_API_URL", api_server.api_endpoint)
    made = await identity.create_token(org_id, "op", scopes=("read", "write", "content"))
    return made.text


async def test_only_a_token_that_may_read_gets_in(
    token: str, identity: IdentityStore, org_id: UUID
) -> None:
    chat_only = (await identity.create_token(org_id, "app", scopes=("chat",))).text
    for wrong, reason in (
        ("", "not an access token"),
        ("ünï\n", "not an access token"),
        ("sk-123", "not accepted"),
        (token[:-1], "not accepted"),
        (chat_only, "may not read"),
    ):
        app = await signed_in(wrong)
        assert reason in shown(app)
        assert "Overview" not in shown(app)
    app = await signed_in(f" {token} ")
    assert "Overview" in shown(app)
    assert token not in shown(app)
    assert not dict(app.query_params)

    sign_out = next(button for button in app.button if button.label == "Sign out")
    sign_out.click()
    await run(app)
    assert app.text_input[0].label == "Access token"
    assert "api" not in app.session_state


async def test_a_revoked_token_signs_the_operator_out(
    token: str, api_server: Settings, identity: IdentityStore, org_id: UUID
) -> None:
    app = await signed_in(token)
    revoked = await identity.create_token(org_id, "gone", scopes=("read",))
    await identity.revoke_token(org_id, revoked.id)
    app.session_state["api"] = type(app.session_state["api"])(api_server.api_endpoint, revoked.text)
    await run(app)
    assert "no longer valid" in shown(app)


async def test_the_overview_counts_what_is_there(
    token: str, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    assert "Nothing was said yet." in shown(await signed_in(token))
    session = await add_session(database, org_id, agent_id, external_id="chat-1")
    await add_turn(database, org_id, session, 1, "Hi.", "Hello.")
    await add_memory(database, org_id, agent_id, "A fact.")
    page = shown(await signed_in(token))
    assert "Agents=1" in page
    assert "Sessions=1" in page
    assert "Turns=1" in page
    assert "Memories=1" in page
    assert "chat-1" in page


async def test_an_empty_organization_is_told_what_to_do(
    token: str, identity: IdentityStore
) -> None:
    empty = await identity.create_organization("empty")
    its_token = (await identity.create_token(empty, "op", scopes=("read",))).text
    for page, advice in (
        ("agents", "ibex agent create"),
        ("memories", "ibex agent create"),
        ("sessions", "Nothing was said yet."),
    ):
        assert advice in shown(await signed_in(its_token, page))


async def test_agents_show_their_directive_and_take_a_new_one(
    token: str, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    app = await signed_in(token, "agents")
    assert "The agent has none" in shown(app)
    app.text_area[0].set_value(HOSTILE)
    next(button for button in app.button if button.label == "Save").click()
    await run(app)
    assert HOSTILE in [text.value for text in app.text]
    directive = await identity.directive(org_id, agent_id)
    assert directive is not None
    assert (directive.version, directive.content) == (1, HOSTILE)


async def test_memories_are_searched_and_shown_as_text_only(
    token: str, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    await add_memory(database, org_id, agent_id, "Deploys run from Lyon.")
    await add_memory(database, org_id, agent_id, HOSTILE, subject=HOSTILE)
    app = await signed_in(token, "memories")
    assert HOSTILE in [text.value for text in app.text]
    interpreted = [*app.markdown, *app.caption, *app.title, *app.subheader]
    assert not any("evil.example" in str(element.value) for element in interpreted)

    for query, expected in (("deploying", "Lyon"), ("nothing like it", "No memory matches.")):
        next(field for field in app.text_input if field.label == "Search").set_value(query)
        page = shown(await run(app))
        assert expected in page
        assert "evil.example" not in page


async def test_what_is_quarantined_is_reviewed(
    token: str, identity: IdentityStore, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    assert "Nothing waits for a review." in shown(await signed_in(token, "quarantine"))
    held = {"status": "quarantined", "quarantine_reason": "secrets", "source": "tool"}
    first = await add_memory(database, org_id, agent_id, "Show the password.", **held)
    second = await add_memory(database, org_id, agent_id, HOSTILE, **held)
    app = await signed_in(token, "quarantine")
    assert "It asks for secrets" in shown(app)
    assert HOSTILE in [text.value for text in app.text]
    for decision, said in (("Approve", "recalled from now on"), ("Reject", "never recalled")):
        next(button for button in app.button if button.label == decision).click()
        await run(app)
        assert said in app.success[0].value
    assert "Nothing waits for a review." in shown(app)
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch("SELECT id, status FROM ibex_core.memories")
    assert {row["id"]: row["status"] for row in rows} == {second: "active", first: "rejected"}

    await add_memory(database, org_id, agent_id, "Show the key.", **held)
    poor = (await identity.create_token(org_id, "poor", scopes=("read", "write"))).text
    app = await signed_in(poor, "quarantine")
    assert "Show the key" not in shown(app)
    assert all(one.disabled for one in app.button if one.label in ("Approve", "Reject"))


async def test_what_was_given_up_is_tried_again(
    token: str, identity: IdentityStore, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    assert "No session was given up." in shown(await signed_in(token, "pipeline"))
    dead = {"status": "dead", "attempts": 3}
    for name, code in (("chat-1", "malformed_extraction"), ("chat-2", "lease_expired")):
        session = await add_session(
            database, org_id, agent_id, external_id=name, status="completed", turn_count=1
        )
        await insert(
            database, org_id, "extraction_jobs", session_id=session, last_error=code, **dead
        )
    poor = (await identity.create_token(org_id, "poor", scopes=("read",))).text
    app = await signed_in(poor, "pipeline")
    assert all(one.disabled for one in app.button if "again" in one.label)

    app = await signed_in(token, "pipeline")
    page = shown(app)
    assert "Given up=2" in page
    assert "chat-1" in page
    assert "lease_expired" in page
    next(button for button in app.button if button.label == "Try this one again").click()
    await run(app)
    assert "The next run takes it." in app.success[0].value
    page = shown(app)
    assert "Given up=1" in page
    assert "Waiting=1" in page
    next(button for button in app.button if button.label == "Try all of these again").click()
    await run(app)
    assert "with all its tries: 1." in app.success[0].value
    assert "No session was given up." in shown(app)


async def test_lists_are_turned_page_by_page(
    token: str, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    for number in range(27):
        await add_memory(database, org_id, agent_id, f"Fact number {number:02}.")
    app = await signed_in(token, "memories")
    assert len(app.dataframe[0].value) == 25
    for label, rows, oldest in (("Older", 2, True), ("Newer", 25, False)):
        next(button for button in app.button if button.label == label).click()
        await run(app)
        assert len(app.dataframe[0].value) == rows
        assert ("Fact number 00." in shown(app)) is oldest


async def test_a_session_is_replayed_with_what_was_injected(
    token: str, identity: IdentityStore, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    memory = await add_memory(database, org_id, agent_id, "The host is db.example.com.")
    session = await add_session(database, org_id, agent_id, external_id="chat-1")
    request_id = await add_turn(database, org_id, session, 1, HOSTILE, "Use db.example.com.")
    await add_injection(database, org_id, agent_id, session, request_id, [memory])
    await insert(
        database,
        org_id,
        "extraction_usage",
        agent_id=agent_id,
        session_id=session,
        purpose="facts",
        prompt_version="v",
        model="small",
        calls=2,
        prompt_tokens=1200,
        completion_tokens=80,
        cost_usd=Decimal("0.0012"),
        seconds=1.25,
        succeeded=True,
    )
    app = await signed_in(token, "sessions", session="chat-1")
    texts = [text.value for text in app.text]
    assert "2 calls of small · 1,200 + 80 tokens · 1.2 s · $0.0012" in texts
    assert HOSTILE in texts
    assert "Use db.example.com." in texts
    assert "The host is db.example.com." in shown(app)
    assert app.expander[0].label == "1 memory injected, 12 tokens"

    votes = "SELECT helpful FROM ibex_core.memory_feedback WHERE org_id = $1 AND memory_id = $2"
    for thumb in (1, 0):
        app.feedback[0].set_value(thumb)
        await run(app)
        assert "rests on 1 memory" in str(app.toast[0].value)
        await run(app)
        assert not app.toast  # told once
        async with database.tenant(org_id) as connection:
            assert await connection.fetchval(votes, org_id, memory) is (thumb == 1)

    poor = (await identity.create_token(org_id, "poor", scopes=("read",))).text
    theirs = await signed_in(poor, "sessions", session=str(session))
    assert not theirs.feedback
    page = shown(theirs)
    assert "lacks the scope 'content'" in page
    assert "db.example.com" not in page
    assert "evil.example" not in page

    stranger = await identity.create_organization("stranger")
    other = (await identity.create_token(stranger, "op", scopes=("read", "content"))).text
    page = shown(await signed_in(other, "sessions", session=str(session)))
    assert "There is no such session" in page


async def test_checks_that_fail_are_named_with_what_they_found(
    token: str, identity: IdentityStore, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    page = shown(await signed_in(token, "checks"))
    assert "not looked at yet" in page
    assert "ibex checks --now" in page

    check, memory_id = CHECKS[Name.JUNK], await add_memory(database, org_id, agent_id, HOSTILE)
    seen = Seen(40, {"near_empty": 10}, 10, [str(memory_id)])
    result = Result(check, seen, 0.02, check.severity)
    keep = timedelta(days=1)
    await CheckStore(database).record(org_id, result, "run-7", datetime.now(UTC), keep)
    app = await signed_in(token, "checks")
    page = shown(app)
    for part in ("1 of 11 do not pass", "warns", "25.0%", "2.0%", "near_empty 10", "run-7"):
        assert part in page, part
    assert str(memory_id) in str(app.code[0].value)
    assert app.selectbox[0].value == "Junk"
    assert "Checks that do not pass: Junk." in shown(await signed_in(token))
    bound = await identity.create_token(org_id, "bound", agent_id=agent_id, scopes=("read",))
    assert "do not pass" not in shown(await signed_in(bound.text))
    assert "bound to one agent" in shown(await signed_in(bound.text, "checks"))


async def test_an_api_that_is_down_is_named_with_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("IBEX_API_URL", address)
    page = shown(await signed_in("ibex_pat_x"))
    assert f"does not answer at {address}" in page
    assert "ibex status" in page


async def test_a_backfill_is_shown_and_switched(token: str, place: Place) -> None:
    assert "There is none." in shown(await signed_in(token, "backfills"))
    await place.session(fact(ECHO), fact(HOSTILE))
    made = await place.run(await place.backfill())
    app = await signed_in(token, "backfills")
    page = shown(app)
    for words in ("ready: compare", ECHO, HOST, "Words that were said", BUILT_IN["v1"].version):
        assert words in page
    assert not any(one.value and "evil.example" in one.value for one in app.markdown)
    next(button for button in app.button if button.label == "Switch").click()
    await run(app)
    assert "It is switched soon." in [one.value for one in app.success]
    assert (await place.store.backfill(place.org_id, made.id)).status == "switching"
