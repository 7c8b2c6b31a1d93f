"""What was said around a memory counts when it is looked for."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibex.memory.index import MemoryIndex, Remembered
from ibex.memory.model import Category
from ibex.memory.threads import (
    BESIDE,
    FOR_ANSWER,
    FOR_QUESTION,
    REACH,
    Place,
    Threads,
    Words,
    asks,
    together,
    weight,
)
from tests.unit.candidates import NOW, direction
from tests.unit.test_memory_index import index_of, memory, vector_of

_SESSIONS = (UUID(int=51), UUID(int=52))
_USERS = (None, UUID(int=1))
_TEXTS = ("Where do you ski?", "In Davos, mostly.", "My boat is red.", "db.example.com", "Yes.")


def episode(
    number: int, content: str, session: UUID = _SESSIONS[0], **changes: object
) -> Remembered:
    user = changes.get("user_id")
    place = Place(session, user if isinstance(user, UUID) else None, number)
    return memory(number, content, category=Category.EPISODIC, place=place, **changes)


@st.composite
def episodes(draw: st.DrawFn) -> Remembered:
    number = draw(st.integers(0, 9))
    return episode(
        number,
        draw(st.sampled_from(_TEXTS)),
        _SESSIONS[number % 2],
        user_id=_USERS[number % 3 == 0],
        embedding=vector_of(draw(st.integers(0, 50))),
        valid_from=NOW,
    )


def test_an_answer_is_found_by_its_question_and_a_neighbour_by_what_is_beside_it() -> None:
    talk = [
        episode(0, "The weather is mild."),
        episode(1, "Where do you ski?"),
        episode(2, "Mostly in Davos."),
        episode(3, "Lovely."),
        episode(4, "My boat is red."),
    ]
    elsewhere = episode(7, "Mostly by train.", _SESSIONS[1])
    index = index_of(*talk, elsewhere)
    met = {one.candidate.content: one.lexical for one in index.search(None, "ski", None, width=99)}
    assert list(met) == sorted(met, key=[one.content for one in talk].index)
    assert met["Where do you ski?"] > met["Mostly in Davos."] > met["Lovely."] > 0
    assert elsewhere.content not in met  # no neighbour, however like
    assert "My boat is red." not in met  # three away


def test_the_vector_that_is_searched_leans_to_the_neighbours_and_the_one_of_the_words_stays() -> (
    None
):
    ski, place, other = direction(1.0), direction(0.0, 1.0), direction(0.0, 0.0, 1.0)
    index = index_of(
        episode(1, "Where do you ski?", embedding=ski, valid_from=NOW),
        episode(2, "Mostly in Davos.", embedding=place, valid_from=NOW),
        memory(9, "A fact.", embedding=other, valid_from=NOW),
    )
    found = {one.candidate.content: one for one in index.recall(None, "", ski, NOW, size=9, hot=0)}
    for copy in (index, index.packed()):
        again = {
            one.candidate.content: one for one in copy.recall(None, "", ski, NOW, size=9, hot=0)
        }
        assert again["Mostly in Davos."].parts == found["Mostly in Davos."].parts
    length = (1 + FOR_ANSWER**2) ** 0.5
    words = Words.of("Mostly in Davos.", place)
    blend, _ = together(words, [(-1, Words.of("Where do you ski?", ski))])
    assert float(blend @ ski) == pytest.approx(FOR_ANSWER / length, abs=1e-6)
    assert found["Mostly in Davos."].parts.relevance > 0.5
    assert found["A fact."].parts.relevance == 0
    assert found["Mostly in Davos."].candidate.embedding == pytest.approx(place, abs=1e-3)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(episodes(), st.integers(100, 109).map(lambda n: UUID(int=n))), max_size=30),
    st.integers(1, 8),
    st.integers(1, 6),
    st.sampled_from(_USERS),
)
def test_in_whatever_order_episodes_come_and_go_the_neighbours_are_right(
    events: list[Remembered | UUID], pack_every: int, at_once: int, user: UUID | None
) -> None:
    index = MemoryIndex(capacity=1)
    store: dict[UUID, Remembered] = {}
    for start in range(0, len(events), at_once):
        some = events[start : start + at_once]
        gone = [one for one in some if isinstance(one, UUID)]
        changed = [one for one in some if isinstance(one, Remembered)]
        index.apply(changed, gone)
        for one in gone:
            store.pop(one, None)
        store |= {one.id: one for one in changed}
        if start % pack_every == 0:
            index = index.packed()
    fresh = index_of(*store.values())
    asked = vector_of(77)
    for question, vector in (("ski Davos boat", None), ("", asked)):
        shown, expected = (
            {
                ranked.candidate.id: ranked.parts.relevance
                for ranked in one.recall(user, question, vector, NOW, size=99, hot=0)
            }
            for one in (index, fresh)
        )
        assert shown == pytest.approx(expected, abs=2e-3)


def test_what_goes_leaves_nothing_with_its_neighbours() -> None:
    secret = episode(1, "The code word is xyzzy.")
    index = index_of(secret, episode(2, "I wrote it down."))
    assert len(index.search(None, "xyzzy", None, width=9)) == 2
    index.apply((), [secret.id])
    assert index.search(None, "xyzzy", None, width=9) == []
    index.apply([secret])
    assert len(index.search(None, "xyzzy", None, width=9)) == 2


def test_the_memories_of_two_users_are_no_neighbours_even_in_one_session() -> None:
    index = index_of(
        episode(1, "The code word is xyzzy.", user_id=_USERS[1]), episode(2, "I wrote it down.")
    )
    assert index.search(None, "xyzzy", None, width=9) == []


def test_neighbours_reach_two_to_either_side_and_know_their_distance() -> None:
    threads, ids = Threads(), [UUID(int=n) for n in range(7)]
    for number in (3, 0, 6, 1, 5, 2, 4):
        threads.add(ids[number], Place(_SESSIONS[0], None, number * 10))
    assert REACH == 2
    assert threads.beside(ids[3]) == [(-2, ids[1]), (-1, ids[2]), (1, ids[4]), (2, ids[5])]
    assert threads.beside(ids[0]) == [(1, ids[1]), (2, ids[2])]
    threads.drop(ids[2])
    assert threads.beside(ids[3]) == [(-2, ids[0]), (-1, ids[1]), (1, ids[4]), (2, ids[5])]
    threads.drop(ids[2])
    assert threads.beside(ids[2]) == []
    assert len(threads) == 6


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Where do you ski?", True),
        ('He asked "really?"', True),
        ("どこですか\uff1f", True),
        ("Is this it? [shares a photo of a red boat]", True),
        ("Really? In Davos.", False),
        ("https://example.com/?a=1", False),
        ("", False),
    ],
)
def test_what_asks(content: str, expected: bool) -> None:
    assert asks(content) is expected


def test_a_question_lends_to_its_answer_and_borrows_less_from_it() -> None:
    question, answer = "Where do you ski?", "In Davos."
    assert weight(-1, answer, question) == FOR_ANSWER
    assert weight(1, question, answer) == FOR_QUESTION
    assert weight(-2, answer, question) == weight(1, answer, question) == BESIDE
    nothing = np.zeros(384, np.float32)
    vector, _ = together(Words.of(answer, nothing), [(1, Words.of(answer, nothing))])
    assert not vector.any()
