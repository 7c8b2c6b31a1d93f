"""The index against plain loops over the same memories."""

import math
from collections import Counter
from dataclasses import fields, replace
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibex.memory import postings
from ibex.memory.index import MemoryIndex, Remembered
from ibex.memory.model import Candidate, Category, Vector
from ibex.memory.packing import RELEVANCE_FLOOR
from ibex.memory.scoring import composite, relevance, score_parts, static_score
from ibex.memory.terms import terms_of
from tests.unit.candidates import NOW, direction

_WORDS = ("host", "port", "cat", "Lisbon", "8443", "eu-west-3", "db.example.com", "Zoë", "flies")
_USERS = (None, UUID(int=1), UUID(int=2))
_USER = st.sampled_from(_USERS)


def vector_of(seed: int) -> Vector:
    vector = np.random.default_rng(seed).normal(size=384).astype(np.float32)
    unit: Vector = vector / np.linalg.norm(vector)
    return unit


def memory(number: int, content: str = "A fact.", **changes: object) -> Remembered:
    made = Remembered(
        id=UUID(int=number + 100),
        user_id=None,
        version=1,
        category=Category.DECLARATIVE,
        content=content,
        confidence=0.9,
        usefulness=0.5,
        access_count=0,
        valid_from=NOW - timedelta(days=number),
        embedding=vector_of(number),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@st.composite
def memories(draw: st.DrawFn, number: int | None = None) -> Remembered:
    chosen = draw(st.integers(0, 11)) if number is None else number
    return memory(
        chosen,
        " ".join(draw(st.lists(st.sampled_from(_WORDS), max_size=6))),
        user_id=draw(_USER),
        embedding=vector_of(draw(st.integers(0, 10_000))),
        version=draw(st.integers(1, 3)),
        confidence=draw(st.floats(0, 1)),
        access_count=draw(st.integers(0, 200)),
        category=draw(st.sampled_from(Category)),
    )


_STORES = st.lists(memories(), max_size=30).map(lambda every: {one.id: one for one in every})
_QUESTIONS = st.lists(st.sampled_from((*_WORDS, "nobody", "the")), max_size=5).map(" ".join)


def index_of(*every: Remembered) -> MemoryIndex:
    index = MemoryIndex()
    index.apply(every)
    return index


def lexical_by_hand(visible: list[Remembered], question: str) -> dict[UUID, float]:
    """BM25 as it stands in the books, then the scale of `Postings.scores`."""
    documents = {one.id: Counter(terms_of(one.content)) for one in visible}
    scores = dict.fromkeys(documents, 0.0)
    whole = 0.0
    for term in set(terms_of(question)):
        holders = sum(term in terms for terms in documents.values())
        total, known = len(visible) + postings.BACKGROUND, max(1, holders)
        weight = math.log(1 + (total - known + 0.5) / (known + 0.5))
        whole += weight
        for one, terms in documents.items():
            length = sum(terms.values()) / postings.TYPICAL_LENGTH
            k = postings.SATURATION * (1 - postings.LENGTH_WEIGHT + postings.LENGTH_WEIGHT * length)
            scores[one] += weight * terms[term] * (postings.SATURATION + 1) / (terms[term] + k)
    return {
        one: min(1.0, score / whole) ** postings.LIFT for one, score in scores.items() if score > 0
    }


def best(scores: dict[UUID, float], width: int) -> list[float]:
    return sorted(scores.values(), reverse=True)[:width]


@settings(max_examples=150, deadline=None)
@given(_STORES, _QUESTIONS, _USER, st.integers(1, 8), st.booleans())
def test_a_search_finds_what_plain_loops_find(
    store: dict[UUID, Remembered], question: str, user: UUID | None, width: int, pack: bool
) -> None:
    index = index_of(*store.values())
    if pack:
        index = index.packed()
    vector = vector_of(77_777)
    visible = [one for one in store.values() if one.user_id in (None, user)]
    near = {one.id: float(one.embedding @ vector) for one in visible}
    worded = lexical_by_hand(visible, question)
    found = {one.candidate.id: one for one in index.search(user, question, vector, width=width)}
    assert set(found) <= set(near)
    # Ranks, not ids: equal scores may stand in either order.
    nearest = best({one: near[one] for one in found}, width)
    assert nearest == pytest.approx(best(near, width), abs=1e-5)
    assert best({one: worded.get(one, 0) for one in found}, len(found))[: len(worded)][
        :width
    ] == pytest.approx(best(worded, width), abs=1e-5)
    for one in found.values():
        assert one.lexical == pytest.approx(worded.get(one.candidate.id, 0.0), abs=1e-5)
        assert 0 <= one.lexical <= 1
        as_stored(one.candidate, store[one.candidate.id])
    by_words = index.search(user, question, None, width=width)
    assert len(by_words) == min(width, len(worded))
    assert all(one.lexical > 0 for one in by_words)


def as_stored(found: Candidate, stored: Remembered) -> None:
    for name in (
        "version", "category", "content", "confidence", "usefulness", "access_count", "valid_from",
    ):  # fmt: skip
        assert getattr(found, name) == getattr(stored, name), name
    assert np.array_equal(found.embedding, stored.embedding)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(memories(), st.integers(100, 111).map(lambda n: UUID(int=n))), max_size=40),
    st.integers(1, 10),
    _QUESTIONS,
    _USER,
)
def test_whatever_was_written_and_deleted_the_index_is_as_if_just_loaded(
    events: list[Remembered | UUID], pack_every: int, question: str, user: UUID | None
) -> None:
    index = MemoryIndex(capacity=1)
    store: dict[UUID, Remembered] = {}
    for number, event in enumerate(events):
        if isinstance(event, UUID):
            store.pop(event, None)
            index.apply((), [event])
        else:
            store[event.id] = event
            index.apply([event])
        if number % pack_every == 0:
            index = index.packed()
    fresh = index_of(*store.values())
    assert len(index) == len(fresh) == len(store)

    def shown(index: MemoryIndex) -> list[tuple[object, ...]]:
        found = index.search(user, question, vector_of(5), width=4)
        return sorted(
            (one.candidate.id, round(one.lexical, 5), one.candidate.content, one.candidate.version)
            for one in found
        )

    def listed(index: MemoryIndex) -> set[UUID]:
        return hot_ids(index, user, NOW, 5)

    assert shown(index) == shown(fresh)
    assert listed(index) == listed(fresh)


def as_candidate(memory: Remembered) -> Candidate:
    names = {one.name for one in fields(Candidate)} - {"tokens"}
    return Candidate(**{name: getattr(memory, name) for name in names})


def hot_ids(index: MemoryIndex, user: UUID | None, now: datetime, size: int) -> set[UUID]:
    every = index.recall(user, "", None, now, size=len(index) + 1, hot=size)
    return {one.candidate.id for one in every if one.origin == "hot"}


@settings(max_examples=80, deadline=None)
@given(_STORES, _QUESTIONS, _USER, st.integers(1, 8), st.booleans(), st.booleans())
def test_one_look_takes_the_best_of_the_relevant_and_scores_as_plain_loops_do(
    store: dict[UUID, Remembered],
    question: str,
    user: UUID | None,
    size: int,
    with_vector: bool,
    pack: bool,
) -> None:
    index, vector = index_of(*store.values()), vector_of(5) if with_vector else None
    if pack:
        index = index.packed()
    visible = [one for one in store.values() if one.user_id in (None, user)]
    words = lexical_by_hand(visible, question)
    expected = {}
    for stored in visible:
        cosine = None if vector is None else float(stored.embedding @ vector)
        lexical = words.get(stored.id, 0.0) if question else None
        one_alone = as_candidate(stored)
        expected[stored.id] = score_parts(one_alone, cosine=cosine, lexical=lexical, now=NOW)
    found = index.recall(user, question, vector, NOW, size=size, hot=3)
    assert len(found) == min(size, len(visible))
    for one in found:
        assert one.parts == pytest.approx(expected[one.candidate.id], abs=2e-6)
        assert one.score == pytest.approx(composite(expected[one.candidate.id]), abs=2e-6)

    def rank(memory: Remembered) -> tuple[bool, float]:
        parts = expected[memory.id]
        exempt = memory.category is Category.PROCEDURAL
        return parts.relevance >= RELEVANCE_FLOOR or exempt, composite(parts)

    best = sorted((rank(one) for one in visible), reverse=True)[:size]
    taken = sorted((rank(store[one.candidate.id]) for one in found), reverse=True)
    # By rank, not by id: equal scores may stand in either order.
    assert [one[0] for one in taken] == [one[0] for one in best]
    assert [one[1] for one in taken] == pytest.approx([one[1] for one in best], abs=2e-6)
    again = index.recall(user, question, vector, NOW, size=size, hot=3)
    assert all(one.candidate is other.candidate for one, other in zip(found, again, strict=True))


def test_of_many_the_best_are_found_although_the_vectors_are_first_compared_as_bytes() -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(3000, 384)).astype(np.float32) * 0.05
    vectors[:, :8] += random.normal(size=(3000, 8)).astype(np.float32)  # some are near each other
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = index_of(*(memory(n, embedding=one, valid_from=NOW) for n, one in enumerate(vectors)))
    for packed in (index, index.packed()):
        for asked in vectors[::300]:
            found = packed.recall(None, "?", asked, NOW, size=50, hot=3)
            near = sorted(relevance(float(cosine), 0.0) for cosine in vectors @ asked)[-50:]
            assert near[0] > RELEVANCE_FLOOR
            assert sorted(one.parts.relevance for one in found) == pytest.approx(near, abs=2e-6)


@settings(max_examples=60, deadline=None)
@given(_STORES, _USER)
def test_hot_are_those_with_the_highest_static_score(
    store: dict[UUID, Remembered], user: UUID | None
) -> None:
    index = index_of(*store.values())
    every = index.recall(user, "", None, NOW, size=999, hot=6)
    scores = {one.candidate.id: static_score(one.candidate, NOW) for one in every}
    hot = [scores[one.candidate.id] for one in every if one.origin == "hot"]
    assert sorted(hot) == pytest.approx(sorted(scores.values())[-6:], abs=1e-6)


def test_nobody_s_memories_and_scores_tell_of_another_user() -> None:
    mine, yours = UUID(int=1), UUID(int=2)
    own = memory(1, "The host is one.")
    index = index_of(own, memory(2, "My host is two.", user_id=mine))
    before = index.search(mine, "host", None, width=9)
    index.apply([memory(n, "Your host host host.", user_id=yours) for n in range(3, 60)])
    after = index.search(mine, "host", None, width=9)
    assert [(one.candidate.id, one.lexical) for one in after] == [
        (one.candidate.id, one.lexical) for one in before
    ]
    assert [one.candidate.id for one in index.search(None, "host", direction(1.0), width=99)] == [
        own.id
    ]
    assert [
        one.candidate.id for one in index.search(UUID(int=3), "host", direction(1.0), width=99)
    ] == [own.id]
    (seen,) = index.recall(None, "host", direction(1.0), NOW, size=99, hot=9)
    assert seen.candidate.id == own.id


@pytest.mark.parametrize(
    ("content", "question"),
    [
        ("The host is db.smoketest.example.com.", "What is db.smoketest.example.com?"),
        ("The host is db.smoketest.example.com.", "the smoketest machine"),
        ("It listens on port 8443.", "who has 8443"),
        ("Deployed in eu-west-3.", "EU-WEST-3?"),
        ("The databases run hot.", "Which database?"),
        ("Caroline's cat is Misty.", "caroline"),
        ("Zoë flew to Zürich.", "ZOE\u0308?"),
        ("set MAX_RETRIES to 5", "max_retries"),
        ("猫は東京にいる", "東京"),
        ("Ticket ABC-123 is open", "abc-123"),
    ],
)
def test_names_and_numbers_are_found_by_their_letters(content: str, question: str) -> None:
    index = index_of(memory(1, content), memory(2, "Nothing of that kind."))
    (found,) = index.search(None, question, None, width=5)
    assert found.candidate.id == memory(1).id


@pytest.mark.parametrize("question", ["", "the of and", "':* & !", "a\0b", "\\ ' ''", "\ud800"])
def test_no_question_breaks_the_search(question: str) -> None:
    index = index_of(memory(1, "A fact."))
    assert len(index.search(None, question, direction(1.0), width=5)) == 1
    assert index.search(None, question, None, width=5) == []
    assert MemoryIndex().search(None, question, direction(1.0), width=5) == []
    assert MemoryIndex().recall(None, question, direction(1.0), NOW, size=5, hot=5) == []


def test_the_relevance_of_words_is_on_a_scale_of_its_own() -> None:
    """1 when all is met, 0 when nothing is; a rare word counts more than a common one."""
    index = index_of(
        memory(0, "port eight"), *(memory(n, f"host number {n}") for n in range(1, 60))
    )

    def score(question: str) -> dict[UUID, float]:
        return {
            one.candidate.id: one.lexical for one in index.search(None, question, None, width=99)
        }

    assert score("port")[memory(0).id] == pytest.approx(1, abs=0.05)
    both = score("host port")
    assert both[memory(0).id] > 1.3 * both[memory(1).id] > 0
    assert score("aeroplane") == {}


def test_ties_are_cut_by_id_whatever_the_order_of_arrival() -> None:
    same = [memory(n, "host", embedding=direction(1.0)) for n in range(20)]
    for order in (same, same[::-1]):
        found = index_of(*order).search(None, "host", direction(1.0), width=4)
        assert {one.candidate.id for one in found} == {one.id for one in same[:4]}


def test_garbage_is_noticed_and_packed_away() -> None:
    index = index_of(*(memory(n, f"Fact {n}.") for n in range(200)))
    size = index.nbytes
    assert index.packed().nbytes <= size
    for turn in range(2):
        index.apply(memory(n, f"Another fact {n} of {turn}.") for n in range(200))
    assert index.wants_packing
    assert index.nbytes > 2 * size
    packed = index.packed()
    assert not packed.wants_packing
    assert len(packed) == 200
    assert packed.nbytes < 1.5 * size


def test_usefulness_and_accesses_change_in_place() -> None:
    known = memory(1, "The host is db.example.com.")
    index = index_of(known, memory(2, "The cat flies."))
    size = index.nbytes
    moved = replace(known, usefulness=0.9, access_count=7)
    for _ in range(500):
        index.apply([moved])
    assert not index.wants_packing
    assert index.nbytes == size
    found = {one.candidate.id: one.candidate for one in index.search(None, "host", None, width=2)}
    assert found[known.id].figures == as_candidate(moved).figures
    assert found[known.id].content == known.content


def test_a_hot_list_follows_the_time_and_the_changes() -> None:
    old = memory(1, valid_from=NOW - timedelta(days=1500), usefulness=0.65)
    coming = memory(2, valid_from=NOW, usefulness=0.5)
    index = index_of(old, coming)
    assert hot_ids(index, None, NOW, 1) == {coming.id}
    later = NOW + timedelta(days=6000)
    assert hot_ids(index, None, later, 1) == {old.id}
    index.apply([replace(old, usefulness=0.1)])
    assert hot_ids(index, None, later, 1) == {coming.id}
