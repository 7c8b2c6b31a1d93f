import asyncio
import socket
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from ibex.memory import tokens


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-5.1", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("ft:gpt-3.5-turbo:acme::1", "cl100k_base"),
        ("llama3.2", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_every_model_has_an_encoding(model: str, encoding: str) -> None:
    assert tokens.encoding_for(model) == encoding


@pytest.mark.parametrize(
    ("text", "model", "expected"),
    [
        ("", "gpt-4o", 0),
        ("hello world", "gpt-4o", 2),
        ("hello world", "gpt-4", 2),
        ("antidisestablishmentarianism", "gpt-4", 6),
        ("お誕生日おめでとう", "gpt-4", 9),
        ("お誕生日おめでとう", "gpt-4o", 8),
    ],
)
def test_known_counts(text: str, model: str, expected: int) -> None:
    """The second column of OpenAI's cookbook, How_to_count_tokens_with_tiktoken."""
    assert tokens.count(text, model) == expected


@given(st.text(max_size=200))
def test_counts_are_tiktoken_s_and_below_the_upper_bound(text: str) -> None:
    exact = len(tiktoken.get_encoding("o200k_base").encode_ordinary(text))
    assert tokens.count(text, "gpt-4o") == tokens.count(text, "gpt-4o") == exact
    assert exact <= tokens.upper_bound(text)


def test_special_tokens_are_text() -> None:
    assert tokens.count("<|endoftext|>", "gpt-4o") > 1


def test_no_encoding_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    tokens._encoding.cache_clear()
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    tokens.load_encodings()


def test_a_huge_text_is_bounded_without_being_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise AssertionError("it was counted")

    monkeypatch.setattr(tokens, "_encoding", refuse)
    text = "é" * (tokens.EXACT_LIMIT + 1)
    assert tokens.count(text, "gpt-4o") == 2 * len(text)


def test_the_cache_is_bounded_and_holds_no_text() -> None:
    cache = tokens.CountCache(4)
    for number in range(20):
        assert cache.count(f"text number {number}", "o200k_base") == 4
        assert cache.count("asked for again and again", "o200k_base") == 5
        assert len(cache) <= 4
    assert cache.knows("asked for again and again", "o200k_base")
    assert cache.knows("text number 19", "o200k_base")
    cache.count("text number 4", "o200k_base")
    assert not cache.knows("text number 1", "o200k_base")
    assert not cache.knows("text number 19", "cl100k_base")
    assert "text number" not in repr(vars(cache))


def test_a_context_window_is_the_longest_prefix_s() -> None:
    assert tokens.context_window("gpt-4o-mini") == 128_000
    assert tokens.context_window("gpt-4.1") == 1_047_576
    assert tokens.context_window("gpt-4-0613") == 8_192
    assert tokens.context_window("o1-mini-2024-09-12") == 128_000
    assert tokens.context_window("gpt-5-mini") == 400_000
    assert tokens.context_window("my-model") == tokens.DEFAULT_CONTEXT_WINDOW
    assert tokens.context_window("my-model", {"my": 10, "my-m": 20}) == 20


def test_the_budget_is_what_history_and_answer_leave() -> None:
    assert min(2_000, tokens.room("gpt-4o", 1_000, 4_096)) == 2_000
    assert min(2_000, tokens.room("gpt-4", 3_000, 4_096)) == 1_096
    assert min(2_000, tokens.room("gpt-4", 9_000, 4_096)) == 0


@given(*[st.integers(0, 2_000_000)] * 3, st.sampled_from(["gpt-4", "gpt-4o", "gpt-4.1", "x"]))
def test_the_budget_is_never_negative_nor_more_than_is_left(
    history: int, answer: int, agent_budget: int, model: str
) -> None:
    budget = min(agent_budget, tokens.room(model, history, answer))
    assert 0 <= budget <= agent_budget
    assert budget == 0 or budget + history + answer <= tokens.context_window(model)


async def test_a_long_history_is_counted_beside_the_loop() -> None:
    texts = [f"Sentence {number} of a long history. " * 300 for number in range(3)]
    exact = tokens.history_tokens(texts, "gpt-4")
    tokens._CACHE.clear()
    assert await tokens.count_history(texts, "gpt-4", limit=30) == exact


async def test_a_history_that_takes_too_long_is_bounded_and_counted_all_the_same() -> None:
    text = "A very long history that nobody has counted before. " * 4_000
    answer = await tokens.count_history([text], "gpt-4o", limit=0)
    assert answer == 3 + 4 + len(text)
    await asyncio.gather(*tokens._COUNTING)
    assert await tokens.count_history([text], "gpt-4o", limit=0) < answer / 3
