"""What an answer tells about the memories that its request was given."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.memory.model import Category
from ibex.memory.tokens import rarity
from ibex.memory.usefulness import (
    MAX_SENTENCES,
    RATE,
    RESTS,
    UNKNOWN,
    UNUSED,
    Given,
    Observation,
    averaged,
    observe,
    sentences,
    usefulness,
)
from tests.unit.candidates import direction

_units = st.floats(0, 1)
_texts = st.text(max_size=200)


def one(number: int, content: str, relevance: float = 1.0, **changes: object) -> Given:
    category = changes.get("category", Category.DECLARATIVE)
    assert isinstance(category, Category)
    vector = changes.get("vector", direction(*[0.0] * number, 1.0))
    return Given(UUID(int=number), category, content, vector, relevance)  # type: ignore[arg-type]


def supports(answer: str, question: str, *contents: str) -> list[float]:
    memories = [one(number, content) for number, content in enumerate(contents)]
    return [each.support for each in observe(memories, answer, [question])]


def test_an_answer_rests_on_the_memory_whose_rare_words_and_numbers_it_says() -> None:
    host, port, cat = supports(
        "Connect to db.example.com on 5433.",
        "How do I connect?",
        "The database host is db.example.com.",
        "PostgreSQL listens on port 5433.",
        "The user has a cat.",
    )
    assert min(host, port) >= RESTS
    assert cat == 0


def test_what_the_question_said_is_no_sign_of_a_memory() -> None:
    (repeated,) = supports(
        "I do not know what db.example.com is.",
        "What is db.example.com?",
        "The database host is db.example.com.",
    )
    assert repeated == 0


def test_common_words_are_a_weak_sign() -> None:
    (common,) = supports("That is a good way to work.", "And?", "The user has a good work day.")
    assert 0 < common < 0.2


def test_a_changed_number_is_not_the_memory_s() -> None:
    (other,) = supports("It is 5434.", "Which port?", "PostgreSQL listens on port 5433.")
    assert other == 0


def test_what_several_memories_say_is_shared_between_them() -> None:
    (alone,) = supports("Ask Wilhelmina.", "Whom?", "Wilhelmina owns billing.")
    both = supports("Ask Wilhelmina.", "Whom?", "Wilhelmina owns billing.", "Wilhelmina is away.")
    assert both == pytest.approx([alone / 2] * 2)


def test_a_sentence_nearer_to_the_memory_than_the_question_was_is_a_sign() -> None:
    memory = one(0, "La usuaria es enfermera.", vector=direction(1.0))
    said = np.stack([direction(0.0, 1.0), direction(0.9, 0.1)])
    near, far = direction(0.9, 0.1), direction(0.2, 1.0)
    (paraphrased,) = observe([memory], "You are a nurse.", [], said=said, question=far)
    (repeated,) = observe([memory], "You are a nurse.", [], said=said, question=near)
    (unknown,) = observe([memory], "You are a nurse.", [])
    assert paraphrased.support >= RESTS > repeated.support == unknown.support == 0


def test_not_to_rest_on_a_memory_tells_the_less_the_less_it_has_to_do_with_the_question() -> None:
    memories = [one(0, "x1", 1.0), one(1, "x2", 0.4), one(2, "x3", 0.0)]
    weights = [each.weight for each in observe(memories, "Nothing of that.", [])]
    assert weights == pytest.approx([UNUSED, 0.4 * UNUSED, 0.0])


def test_how_to_act_shows_in_no_word_so_its_absence_tells_nothing() -> None:
    memory = one(0, "Answer briefly.", 1.0, category=Category.PROCEDURAL)
    (seen,) = observe([memory], "Yes.", [])
    assert seen.weight == 0
    assert averaged(0.7, seen) == 0.7


def test_the_average_moves_towards_what_is_observed() -> None:
    used = Observation(UUID(int=1), 1.0, 1.0)
    unused = Observation(UUID(int=1), 0.0, UNUSED)
    assert averaged(UNKNOWN, used) == pytest.approx(UNKNOWN + RATE * (1 - UNKNOWN))
    assert averaged(UNKNOWN, unused) == pytest.approx(UNKNOWN * (1 - RATE * UNUSED))
    average = UNKNOWN
    for _ in range(40):
        average = averaged(average, used)
    assert average > 0.99


def test_a_vote_counts_more_than_an_answer_and_is_taken_back_by_its_opposite() -> None:
    by_answer = averaged(UNKNOWN, Observation(UUID(int=1), 1.0, 1.0))
    assert usefulness(UNKNOWN, 0, 0) == UNKNOWN
    assert usefulness(UNKNOWN, 1, 0) > usefulness(by_answer, 0, 0)
    assert usefulness(UNKNOWN, 0, 1) == pytest.approx(1 - usefulness(UNKNOWN, 1, 0))
    assert usefulness(UNKNOWN, 3, 3) == UNKNOWN


@given(_units, _units, _units, st.integers(0, 10**6), st.integers(0, 10**6))
def test_average_and_usefulness_stay_in_the_unit_interval(
    average: float, support: float, weight: float, helpful: int, unhelpful: int
) -> None:
    moved = averaged(average, Observation(UUID(int=1), support, weight))
    assert 0 <= moved <= 1
    assert min(average, support) - 1e-9 <= moved <= max(average, support) + 1e-9
    assert 0 <= usefulness(moved, helpful, unhelpful) <= 1
    assert usefulness(moved, helpful + 1, unhelpful) >= usefulness(moved, helpful, unhelpful)


@given(st.lists(_texts, max_size=4), _texts, st.lists(_texts, max_size=2), _units)
def test_whatever_is_said_supports_and_weights_stay_in_the_unit_interval(
    contents: list[str], answer: str, before: list[str], relevance: float
) -> None:
    memories = [one(number, content, relevance) for number, content in enumerate(contents)]
    said = np.stack([direction(1.0) for _ in sentences(answer)] or [direction(1.0)])
    for seen in observe(memories, answer, before, said=said, question=direction(0.0, 1.0)):
        assert 0 <= seen.support <= 1
        assert 0 <= seen.weight <= 1


@given(st.text(max_size=5_000))
def test_a_bounded_number_of_sentences_is_embedded_and_none_is_empty(answer: str) -> None:
    found = sentences(answer)
    assert len(found) <= MAX_SENTENCES
    assert all(one.strip() for one in found)


def test_sentences_end_where_their_script_ends_them() -> None:
    english = "The host is db.example.com. The port is 5433!"
    japanese = "今日はとてもいい天気ですね。明日は雨が降るそうです。"
    assert sentences(f"{english}\n{japanese}") == [
        "The host is db.example.com.",
        "The port is 5433!",
        "今日はとてもいい天気ですね。",
        "明日は雨が降るそうです。",
    ]


def test_names_are_rarer_than_verbs() -> None:
    assert rarity("use") == 0
    assert 0 < rarity("database") < rarity("vegetarian") == 1
    assert rarity("Wilhelmina") == rarity("zq7x") == 1
