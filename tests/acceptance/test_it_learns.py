"""The thing itself, used as an application uses it: with the official openai client."""

from typing import Any

import openai
import pytest
from openai import OpenAI
from pyreqwest.client import SyncClientBuilder

from ibex.provisioning import Provisioned
from ibex.walkthrough import Walkthrough
from tests.acceptance.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

HOST = "db.smoketest.example.com"
FACT = f"My database host is {HOST}. Please confirm you noted that."
QUESTION = "What database host should I use?"


def client(stack: Stack, token: str, agent: str | None = "assistant") -> OpenAI:
    return OpenAI(
        base_url=f"{stack.settings.proxy_endpoint}/v1",
        api_key=token,
        default_headers={"X-IBEX-Agent-ID": agent} if agent else {},
        max_retries=0,
    )


def sent_to_the_model(stack: Stack) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{stack.settings.sandbox_port}/v1/sandbox/requests"
    with SyncClientBuilder().no_proxy().build() as http:
        requests: list[dict[str, Any]] = http.get(url).build().send().json()["requests"]
    return [request for request in requests if "response_format" not in request]


async def test_a_fact_of_one_session_answers_a_question_of_the_next(
    stack: Stack, walk: Walkthrough
) -> None:
    session_id = await walk.converse([FACT], lambda *_: None)
    learned = await walk.wait_until_learned(session_id, await walk.complete(session_id), limit=120)
    assert any(HOST in memory["content"] for memory in learned.memories)

    answer = await walk.ask([{"role": "user", "content": QUESTION}])
    assert answer.session_id != session_id
    assert HOST in answer.text
    assert answer.memories_injected >= 1
    assert not answer.fell_back
    assert int(answer.headers["x-ibex-context-tokens"]) > 0

    messages = sent_to_the_model(stack)[-1]["messages"]
    assert HOST in messages[0]["content"]
    assert messages[0]["content"].startswith("You are a helpful assistant.")
    assert messages[-1] == {"role": "user", "content": QUESTION}

    injection = await walk.injection(answer.request_id)
    assert len(injection["memories"]) == answer.memories_injected
    assert all(0 <= memory["score"] <= 1 for memory in injection["memories"])

    # What was injected is not what was said: nothing is learned from it.
    turns = await walk.get(f"/sessions/{answer.session_id}/turns")
    assert turns["items"][0]["messages"] == [{"role": "user", "content": QUESTION}]


async def test_a_stream_arrives_whole_and_is_recorded(
    stack: Stack, tenant: Provisioned, walk: Walkthrough
) -> None:
    stream = client(stack, tenant.token).chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": FACT}],
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"X-IBEX-Session-ID": "streamed"},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None
    turns = await walk.get("/sessions/streamed/turns")
    assert turns["items"][0]["response"]["content"] == text
    assert turns["items"][0]["completion_tokens"] == chunks[-1].usage.completion_tokens


def test_a_wrong_token_is_401(stack: Stack, tenant: Provisioned) -> None:
    for token in ("sk-123", tenant.token[:-1] + "x"):
        with pytest.raises(openai.AuthenticationError) as caught:
            client(stack, token).chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}]
            )
        assert caught.value.code == "invalid_api_key"
        assert caught.value.response.headers["x-request-id"]


def test_an_unknown_agent_is_404(stack: Stack, tenant: Provisioned) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client(stack, tenant.token, "nobody").chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}]
        )
    assert caught.value.code == "agent_not_found"


def test_a_model_outside_the_policy_is_403(stack: Stack, tenant: Provisioned) -> None:
    org = stack.ibex("org", "create", f"policy-{tenant.agent_id}")
    assert "org_id" in org.stdout
    name = f"policy-{tenant.agent_id}"
    stack.ibex("agent", "create", "strict", "--org", name, "--allow", "gpt-4o")
    token = stack.ibex("token", "create", "t", "--org", name, "--agent", "strict").stdout.split()[
        -1
    ]
    strict = client(stack, token, agent=None)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        strict.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}]
        )
    assert caught.value.code == "model_not_allowed"
    answer = strict.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Hello"}]
    )
    assert answer.choices[0].message.content


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"messages": "x"}', b"{}"])
def test_a_malformed_body_is_400_in_the_envelope(
    stack: Stack, tenant: Provisioned, body: bytes
) -> None:
    with SyncClientBuilder().no_proxy().build() as http:
        response = (
            http.post(f"{stack.settings.proxy_endpoint}/v1/chat/completions")
            .headers({"authorization": f"Bearer {tenant.token}", "x-ibex-agent-id": tenant.agent})
            .body_bytes(body)
            .build()
            .send()
        )
        answer = response.json()
    assert response.status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["request_id"] == response.headers["x-request-id"]
