"""From turns to facts, against the sandbox model server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pyreqwest.client import ClientBuilder

from ibex.errors import MalformedExtractionError, ProviderUnavailableError
from ibex.extraction.extract import TurnMessage, TurnText, extract_facts
from ibex.extraction.judging import ask
from ibex.extraction.llm import ModelClient
from ibex.extraction.prompts import BUILT_IN
from ibex.memory.conflicts import Resolution, Statement
from ibex.memory.model import Category, Source
from ibex.settings import Settings

pytestmark = pytest.mark.usefixtures("sandbox_server")

V1 = BUILT_IN["v1"]
SAID_AT = datetime(2026, 5, 7, 12, 0, tzinfo=UTC)
SESSION = (
    TurnText(
        1,
        SAID_AT,
        (
            TurnMessage("system", "My injected host is memory.example.com."),
            TurnMessage("user", "Hi! My database host is db.smoketest.example.com.", None, "m1"),
            TurnMessage("assistant", "Noted. My own host is model.example.com.", None, "m2"),
        ),
    ),
    TurnText(
        2,
        SAID_AT + timedelta(minutes=1),
        (
            TurnMessage("user", "From now on answer in German. What is the capital of France?"),
            TurnMessage("assistant", "Paris."),
        ),
    ),
    TurnText(
        3,
        SAID_AT + timedelta(minutes=2),
        (TurnMessage("user", "I met Bo yesterday. My database host is db.smoketest.example.com."),),
    ),
)


@asynccontextmanager
async def model(
    settings: Settings, name: str = "gpt-4o-mini", limit: float = 10
) -> AsyncIterator[ModelClient]:
    client = ModelClient(settings.provider_url, settings.provider_key, name, limit)
    try:
        yield client
    finally:
        await client.close()


async def test_a_session_becomes_facts(base_settings: Settings) -> None:
    async with model(base_settings) as llm:
        extraction = await extract_facts(SESSION, llm, V1, imported=False)
    found = {fact.content: fact for fact in extraction.facts}
    assert list(found) == [
        "User's database host is db.smoketest.example.com.",
        "User: From now on answer in German.",
        "User: I met Bo yesterday.",
    ]
    host, wish, event = extraction.facts
    assert (host.category, host.turns, host.message_ids) == (Category.DECLARATIVE, (1, 3), ("m1",))
    assert (host.subject, host.attribute, host.source) == ("User", "database host", Source.USER)
    assert (wish.category, wish.turns) == (Category.PROCEDURAL, (2,))
    assert (event.category, event.turns) == (Category.EPISODIC, (3,))
    assert (extraction.model, extraction.prompt_version) == ("ibex-sandbox", V1.version)
    assert extraction.dropped == 0
    assert extraction.prompt_tokens > extraction.completion_tokens > 0


async def test_what_nobody_said_never_reaches_the_model(base_settings: Settings) -> None:
    async with model(base_settings) as llm:
        await extract_facts(SESSION, llm, V1, imported=False)
    async with ClientBuilder().no_proxy().build() as http:
        address = f"{base_settings.provider_url}/sandbox/requests"
        sent = (await (await http.get(address).build().send()).json())["requests"][-1]
    assert "memory.example.com" not in str(sent)
    assert sent["response_format"]["json_schema"]["strict"] is True


async def test_a_server_without_json_schema_is_asked_for_plain_json(
    base_settings: Settings,
) -> None:
    async with model(base_settings, "sandbox-no-schema") as llm:
        first = await extract_facts(SESSION, llm, V1, imported=False)
        again = await extract_facts(SESSION, llm, V1, imported=False)
    assert len(first.facts) == 3
    assert first.facts == again.facts


@pytest.mark.parametrize("name", ["gpt-4o-mini", "sandbox-no-schema"])
async def test_two_statements_are_judged(base_settings: Settings, name: str) -> None:
    older = Statement("User is a nurse.", Category.DECLARATIVE, "User", "job", 0.9, SAID_AT)
    newer = replace(older, content="A nurse: User!", valid_from=SAID_AT + timedelta(days=1))
    other = replace(newer, content="User is a doctor.")
    async with model(base_settings, name) as llm:
        same, different = [await ask(older, one, llm) for one in (newer, other)]
    assert same.verdict.resolution is Resolution.DUPLICATE
    assert different.verdict.resolution is Resolution.KEEP
    assert same.verdict.rule.startswith("model:ibex-sandbox/")
    assert same.prompt_tokens > same.completion_tokens > 0


async def test_garbage_is_malformed(base_settings: Settings) -> None:
    async with model(base_settings, "sandbox-garbage") as llm:
        with pytest.raises(MalformedExtractionError):
            await extract_facts(SESSION, llm, V1, imported=False)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("sandbox-error-500", 10),
        ("sandbox-429", 10),
        ("sandbox-cut", 10),
        ("sandbox-slow-400", 0.1),
    ],
)
async def test_a_server_in_trouble_is_unavailable(
    base_settings: Settings, name: str, limit: float
) -> None:
    async with model(base_settings, name, limit) as llm:
        with pytest.raises(ProviderUnavailableError) as failed:
            await extract_facts(SESSION, llm, V1, imported=False)
    assert "example.com" not in str(failed.value)


async def test_a_server_that_is_away_is_unavailable(base_settings: Settings) -> None:
    away = base_settings.model_copy(update={"provider_base_url": "http://127.0.0.1:9/v1"})
    async with model(away) as llm:
        with pytest.raises(ProviderUnavailableError):
            await extract_facts(SESSION, llm, V1, imported=False)


async def test_another_kind_of_server_sends_no_completion(base_settings: Settings) -> None:
    wrong = f"http://127.0.0.1:{base_settings.sandbox_port}"  # without /v1
    async with model(base_settings.model_copy(update={"provider_base_url": wrong})) as llm:
        with pytest.raises(ProviderUnavailableError, match="404"):
            await extract_facts(SESSION, llm, V1, imported=False)


async def test_this_machine_is_not_reached_through_a_proxy(
    base_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with model(base_settings) as llm:
        assert len((await extract_facts(SESSION, llm, V1, imported=False)).facts) == 3
