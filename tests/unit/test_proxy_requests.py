"""What the proxy takes in, sends on and keeps to itself."""

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath.proxy.bodies import parse_chat, splice, with_context
from hotpath.proxy.lookup import Lookup
from hotpath.proxy.policy import choose_model
from hotpath.proxy.upstream import request_headers, response_headers
from hotpath.proxy.wishes import MemorySwitch, read_wishes
from ibex.errors import InvalidRequestError, ModelNotAllowedError
from ibex.ids import new_id
from ibex.rpc import Insertion, VerifiedAgent

# --- bodies ---


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        b'{"messages": null}',
        b'{"messages": "x"}',
        b'{"messages": []}',
        b'{"messages": ["x"]}',
        b'{"messages": [{}]}',
        b'{"messages": [{"role": 1}]}',
        b'{"messages": [{"role": "user", "content": "\xc3\x28"}]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user"}], "model": 3}',
        b'{"messages": [{"role": "user"}], "model": ""}',
        b'{"messages": [{"role": "user"}], "model": "a\\u0000"}',
        b'{"messages": [{"role": "user"}], "stream": "yes"}',
        b'{"messages": [{"role": "user", "content": ' + b"[" * 400 + b"]" * 400 + b"}]}",
        b"[" * 100_000,
    ],
)
def test_a_malformed_body_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        parse_chat(body)


def test_a_body_that_nothing_changes_goes_on_byte_for_byte() -> None:
    raw = b'{ "messages":[{"role":"user","content":"\\u00e9"}],\n "model" : "m", "top_p": 1.50 }'
    chat = parse_chat(raw)
    assert with_context(chat, "m", []) is raw


def test_unknown_fields_survive_a_change() -> None:
    fields = {
        "messages": [{"role": "user", "content": [{"type": "x", "y": 1}], "odd": None}],
        "stream": False,
        "seed": 7,
        "vendor": {"deep": [1, 2.5, "é"]},
    }
    chat = parse_chat(orjson.dumps(fields))
    insertion = Insertion(position=0, role="system", content="context")
    sent = orjson.loads(with_context(chat, "m", [insertion]))
    system = {"role": "system", "content": "context"}
    assert sent == fields | {"model": "m", "messages": [system, *chat.messages]}
    assert chat.messages == fields["messages"]


@given(
    st.lists(st.text(max_size=3), max_size=6),
    st.lists(st.tuples(st.integers(-1, 8), st.text(max_size=3)), max_size=4),
)
def test_splicing_keeps_every_message_and_puts_each_insertion_at_its_place(
    texts: list[str], wanted: list[tuple[int, str]]
) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": text} for text in texts]
    insertions = [Insertion(position=at, role="system", content=text) for at, text in wanted]
    spliced = splice(messages, insertions)
    assert [one for one in spliced if one["role"] == "user"] == messages
    placed = [
        (sum(one["role"] == "user" for one in spliced[:index]), one["content"])
        for index, one in enumerate(spliced)
        if one["role"] == "system"
    ]
    clamped = [(min(max(at, 0), len(texts)), text) for at, text in wanted]
    assert sorted(placed) == sorted(clamped)


# --- headers ---


def test_wishes_have_defaults_and_limits() -> None:
    wishes = read_wishes({})
    assert (wishes.agent, wishes.session, wishes.user) == (None, None, None)
    assert wishes.memory is MemorySwitch.ON
    assert read_wishes({"x-ibex-memory": "Read-Only"}).memory is MemorySwitch.READ_ONLY
    assert read_wishes({"x-ibex-session-id": " s é "}).session == "s é"
    for wrong in ({"x-ibex-memory": "maybe"}, {"x-ibex-session-id": "x" * 201}):
        with pytest.raises(InvalidRequestError):
            read_wishes(wrong)
    with pytest.raises(InvalidRequestError):
        read_wishes({"x-ibex-user-id": "a\u200bb"})


@pytest.mark.parametrize(
    ("switch", "reads", "writes"),
    [
        ("on", True, True),
        ("read-only", True, False),
        ("write-only", False, True),
        ("off", False, False),
    ],
)
def test_the_memory_switch(switch: str, reads: bool, writes: bool) -> None:
    assert (MemorySwitch(switch).reads, MemorySwitch(switch).writes) == (reads, writes)


def test_only_what_a_model_server_understands_goes_on() -> None:
    sent = request_headers(
        {
            "authorization": "Bearer ibex_pat_secret",
            "cookie": "session=1",
            "host": "proxy",
            "x-ibex-user-id": "u",
            "x-forwarded-for": "10.0.0.1",
            "accept-encoding": "gzip",
            "content-type": "text/plain",
            "user-agent": "OpenAI/Python",
            "openai-organization": "org",
            "x-stainless-lang": "python",
            "openai-project": "é",
            "idempotency-key": "a\r\nauthorization: Bearer other",
            "x-stainless-os": "a\x00",
        },
        "sk-key",
    )
    assert sent == {
        "accept": "*/*",
        "accept-encoding": "identity",
        "authorization": "Bearer sk-key",
        "content-type": "application/json",
        "user-agent": "OpenAI/Python",
        "openai-organization": "org",
        "x-stainless-lang": "python",
    }


def test_what_belongs_to_the_upstream_connection_stays_there() -> None:
    passed = response_headers(
        [
            (b"content-type", b"application/json"),
            (b"content-length", b"3"),
            (b"transfer-encoding", b"chunked"),
            (b"connection", b"close, X-Hop"),
            (b"x-hop", b"1"),
            (b"set-cookie", b"a=b"),
            (b"x-request-id", b"theirs"),
            (b"x-ibex-session-id", b"forged"),
            (b"retry-after", b"7"),
            (b"openai-processing-ms", b"12"),
            (b"x-ratelimit-remaining-requests", b"9"),
        ]
    )
    assert passed == [
        (b"content-type", b"application/json"),
        (b"x-upstream-request-id", b"theirs"),
        (b"retry-after", b"7"),
        (b"openai-processing-ms", b"12"),
        (b"x-ratelimit-remaining-requests", b"9"),
    ]


# --- policy ---


def agent(default: str | None = None, *allowed: str) -> VerifiedAgent:
    return VerifiedAgent(new_id(), "a", default, frozenset(allowed))


def test_the_policy_decides_on_the_model() -> None:
    assert choose_model(agent(), "any", "default") == "any"
    assert choose_model(agent(), None, "default") == "default"
    assert choose_model(agent("own"), None, "default") == "own"
    assert choose_model(agent("own", "a", "b"), "b", "default") == "b"
    assert choose_model(agent("own", "a"), "own", "default") == "own"
    for asked in ("c", None):
        with pytest.raises(ModelNotAllowedError):
            choose_model(agent(None, "a", "b"), asked, "c")


# --- lookups ---


async def test_a_question_is_asked_once_however_many_want_to_know() -> None:
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    lookup: Lookup[str, int] = Lookup(10, 60)
    assert await asyncio.gather(*(lookup.get("a", ask) for _ in range(5))) == [1] * 5
    assert await lookup.get("a", ask) == 1
    lookup.forget(lambda value: value == 1)
    assert await lookup.get("a", ask) == 2


async def test_errors_are_not_kept_and_who_gives_up_does_not_stop_the_others() -> None:
    gate = asyncio.Event()

    async def fail() -> int:
        raise ValueError

    async def wait() -> int:
        await gate.wait()
        return 1

    lookup: Lookup[str, int] = Lookup(10, 60)
    with pytest.raises(ValueError):  # noqa: PT011  it has no text
        await lookup.get("a", fail)
    impatient = asyncio.create_task(lookup.get("a", wait))
    patient = asyncio.create_task(lookup.get("a", wait))
    await asyncio.sleep(0)
    impatient.cancel()
    gate.set()
    assert await patient == 1


async def test_an_answer_from_before_a_change_is_not_kept() -> None:
    gate = asyncio.Event()

    async def old() -> str:
        await gate.wait()
        return "old"

    async def new() -> str:
        return "new"

    lookup: Lookup[str, str] = Lookup(10, 60)
    asking = asyncio.create_task(lookup.get("a", old))
    await asyncio.sleep(0)
    lookup.forget()
    gate.set()
    assert await asking == "old"
    assert await lookup.get("a", new) == "new"
