"""The sandbox model server, through the official client."""

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletionMessageParam
from pyreqwest.client import ClientBuilder

from ibex.sandbox.service import REMEMBERED_REQUESTS
from ibex.settings import Settings

pytestmark = pytest.mark.usefixtures("sandbox_server")

TOLD: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "My database host is db.example.com."},
    {"role": "assistant", "content": "Noted."},
    {"role": "user", "content": "What is my database host?"},
]
ANSWER = "From what I was told: My database host is db.example.com."


@pytest.fixture
async def client(base_settings: Settings) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=base_settings.provider_url,
        api_key=base_settings.provider_key,
        max_retries=0,
        http_client=DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        yield client


async def test_a_whole_reply(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="gpt-4o-mini", messages=TOLD)
    assert reply.choices[0].message.content == ANSWER
    assert (reply.model, reply.system_fingerprint) == ("ibex-sandbox", "ibex-sandbox")
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert [model.id async for model in client.models.list()] == ["ibex-sandbox"]


async def test_a_stream(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="gpt-4o-mini", messages=TOLD, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    deltas = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(deltas) == ANSWER
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


async def test_an_answer_that_is_too_long_is_cut(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="any", messages=TOLD, max_tokens=3)
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].message.content == "From what I"


async def test_it_misbehaves_when_it_is_told_to(client: AsyncOpenAI) -> None:
    create = client.chat.completions.create
    with pytest.raises(openai.InternalServerError):
        await create(model="sandbox-error-500", messages=TOLD)
    with pytest.raises(openai.RateLimitError) as limited:
        await create(model="sandbox-429", messages=TOLD)
    assert limited.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.APIConnectionError):
        await create(model="sandbox-cut", messages=TOLD)
    with pytest.raises(openai.APITimeoutError):
        await create(
            model="sandbox-slow",
            messages=TOLD,
            timeout=0.1,
            extra_headers={"x-sandbox-delay-ms": "400"},
        )
    reply = await create(model="sandbox-slow-1", messages=TOLD)
    assert reply.choices[0].message.content == ANSWER


async def test_a_stream_that_is_cut_does_not_end_well(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="sandbox-cut", messages=TOLD, stream=True)
    text = ""
    with pytest.raises(openai.APIConnectionError):  # noqa: PT012  the loop fails, not one call
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text
    assert ANSWER.startswith(text)


async def test_a_malformed_request_is_refused(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="messages"):
        await client.chat.completions.create(model="any", messages=[])


async def test_the_newest_requests_are_shown_and_bounded(
    client: AsyncOpenAI, base_settings: Settings
) -> None:
    address = f"{base_settings.provider_url}/sandbox/requests"
    async with ClientBuilder().no_proxy().build() as http:
        assert (await http.delete(address).build().send()).status == 200
        for number in range(REMEMBERED_REQUESTS + 1):
            await client.chat.completions.create(
                model="any", messages=[{"role": "user", "content": f"Hello {number}"}]
            )
        shown = (await (await http.get(address).build().send()).json())["requests"]
    assert len(shown) == REMEMBERED_REQUESTS
    assert shown[-1]["messages"] == [{"role": "user", "content": f"Hello {REMEMBERED_REQUESTS}"}]
    assert base_settings.provider_key not in str(shown)
