"""From turns to facts, against the sandbox model server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pyreqwest.client import ClientBuilder

from ibex.errors import (
    MalformedExtractionError,
    ModelTooSlowError,
    ProviderLimitError,
    ProviderPausedError,
    ProviderUnavailableError,
)
from ibex.extraction.completion import Meter
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


@pytest.mark.parametrize(("name", "refused"), [("sandbox-no-schema", 1), ("sandbox-no-format", 2)])
async def test_a_server_that_knows_no_schema_or_no_form_at_all_is_told_it(
    base_settings: Settings, name: str, refused: int
) -> None:
    first, again = Meter(), Meter()
    async with model(base_settings, name) as llm:
        one = await extract_facts(SESSION, llm, V1, imported=False, meter=first)
        other = await extract_facts(SESSION, llm, V1, imported=False, meter=again)
    assert len(one.facts) == 3
    assert one.facts == other.facts
    assert (first.calls, again.calls) == (1 + refused, 1)


async def test_a_broken_answer_is_mended_by_asking_again(base_settings: Settings) -> None:
    meter = Meter()
    async with model(base_settings, "sandbox-garbage-once") as llm:
        extraction = await extract_facts(SESSION, llm, V1, imported=False, meter=meter)
    assert (len(extraction.facts), meter.calls) == (3, 2)


async def test_a_model_with_less_room_than_was_thought_reads_in_parts(
    base_settings: Settings,
) -> None:
    meter = Meter()
    async with model(base_settings, "sandbox-window-620") as llm:
        extraction = await extract_facts(SESSION, llm, V1, imported=False, meter=meter)
    assert len(extraction.facts) == 3
    assert meter.calls > 3


@pytest.mark.parametrize("name", ["gpt-4o-mini", "sandbox-no-schema"])
async def test_two_statements_are_judged(base_settings: Settings, name: str) -> None:
    older = Statement("User is a nurse.", Category.DECLARATIVE, "User", "job", 0.9, SAID_AT)
    newer = replace(older, content="A nurse: User!", valid_from=SAID_AT + timedelta(days=1))
    other = replace(newer, content="User is a doctor.")
    meter = Meter()
    async with model(base_settings, name) as llm:
        same, different = [await ask(older, one, llm, meter) for one in (newer, other)]
    assert same.resolution is Resolution.DUPLICATE
    assert different.resolution is Resolution.KEEP
    assert same.rule.startswith("model:ibex-sandbox/")
    assert meter.prompt_tokens > meter.completion_tokens > 0
    assert meter.seconds > 0


async def test_garbage_is_malformed(base_settings: Settings) -> None:
    async with model(base_settings, "sandbox-garbage") as llm:
        with pytest.raises(MalformedExtractionError):
            await extract_facts(SESSION, llm, V1, imported=False)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("sandbox-error-500", 10),
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


async def test_a_server_that_wants_fewer_calls_is_asked_again_when_it_said(
    base_settings: Settings,
) -> None:
    meter = Meter()
    async with model(base_settings, "sandbox-429") as llm:
        with pytest.raises(ProviderLimitError) as failed:
            await extract_facts(SESSION, llm, V1, imported=False, meter=meter)
    assert (meter.calls, failed.value.retry_after) == (3, 1.0)


async def test_who_answers_others_and_not_this_is_too_slow_for_it(
    base_settings: Settings,
) -> None:
    async with model(base_settings, limit=2.0) as llm:
        await extract_facts(SESSION, llm, V1, imported=False)
        llm.model = "sandbox-slow-60000"
        with pytest.raises(ModelTooSlowError):
            await extract_facts(SESSION, llm, V1, imported=False)


async def test_a_server_that_is_away_is_left_alone_after_a_few_calls(
    base_settings: Settings,
) -> None:
    away = base_settings.model_copy(update={"provider_base_url": "http://127.0.0.1:9/v1"})
    meter = Meter()
    async with model(away) as llm:
        for _ in range(8):
            with pytest.raises(ProviderUnavailableError) as failed:
                await extract_facts(SESSION, llm, V1, imported=False, meter=meter)
    assert isinstance(failed.value, ProviderPausedError)
    assert meter.calls == 5
