"""The hash chain: what is new in a conversation, whatever a client drops or adds on its way."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.conversation import chain, continues, new_messages, text_of

texts = st.text(max_size=8)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": texts},
    optional={
        "name": texts,
        "id": texts,
        "refusal": st.none() | texts,
        "tool_call_id": texts,
        "tool_calls": st.lists(st.fixed_dictionaries({"id": texts, "type": st.just("function")})),
    },
)
conversations = st.lists(messages, max_size=6)


@given(conversations, conversations)
def test_the_chain_of_a_beginning_is_the_beginning_of_the_chain(
    first: list[dict[str, Any]], rest: list[dict[str, Any]]
) -> None:
    whole = chain([*first, *rest])
    assert whole[: len(first)] == chain(first)
    start = whole[len(first) - 1] if first else b""
    assert chain(rest, start) == whole[len(first) :]


@given(conversations)
def test_fields_that_clients_drop_make_no_difference(conversation: list[dict[str, Any]]) -> None:
    bare = [
        {
            key: value
            for key, value in reversed(message.items())
            if key in ("role", "content", "name", "tool_calls", "tool_call_id")
        }
        for message in conversation
    ]
    assert chain(bare) == chain(conversation)


@given(conversations.filter(bool), st.data())
def test_every_change_of_a_message_changes_the_hashes_from_there_on(
    conversation: list[dict[str, Any]], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(conversation) - 1))
    changed = [dict(message) for message in conversation]
    changed[index]["content"] += "!"
    before, after = chain(conversation), chain(changed)
    assert before[:index] == after[:index]
    assert all(a != b for a, b in zip(before[index:], after[index:], strict=True))


@given(conversations, conversations)
def test_what_follows_the_known_messages_is_new(
    known: list[dict[str, Any]], rest: list[dict[str, Any]]
) -> None:
    whole = [*known, *rest]
    known_hash = chain(known)[-1] if known else None
    assert new_messages(len(known), known_hash, chain(whole), whole) == rest


def said(*roles: str) -> list[dict[str, Any]]:
    return [{"role": role, "content": f"{role} {place}"} for place, role in enumerate(roles)]


@pytest.mark.parametrize(
    ("roles", "new"),
    [
        (("system", "user"), 1),
        (("user",), 1),
        (("user", "assistant", "user"), 1),
        (("user", "assistant", "tool", "tool"), 2),
        (("user", "assistant", "user", "assistant"), 2),  # the model shall go on
        (("system",), 0),
    ],
)
def test_without_a_known_beginning_only_what_follows_the_last_answer_is_new(
    roles: tuple[str, ...], new: int
) -> None:
    conversation = said(*roles)
    unknown = b"\0" * 32
    found = new_messages(1, unknown, chain(conversation), conversation)
    assert list(found) == conversation[len(conversation) - new :]


def test_an_edited_conversation_is_new_after_its_longest_known_beginning() -> None:
    conversation = said("user", "assistant", "user", "assistant", "user")
    assert new_messages(9, b"x", chain(conversation), conversation, 2) == conversation[2:]
    assert not continues(9, b"x", chain(conversation))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("one", "one"),
        (None, ""),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "one\ntwo"),
        ([{"type": "image_url", "image_url": {"url": "data:…"}}, "three", 4], "three"),
        ([{"type": "text", "text": None}], ""),
    ],
)
def test_the_text_of_a_message(content: object, text: str) -> None:
    assert text_of(content) == text
