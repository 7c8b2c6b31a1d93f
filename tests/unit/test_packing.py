import random

from hypothesis import given
from hypothesis import strategies as st

from ibex.memory.model import Category, ScoredMemory
from ibex.memory.packing import RELEVANCE_FLOOR, pack
from tests.unit.candidates import direction, scored

_scored = st.lists(
    st.tuples(st.integers(1, 60), st.floats(0, 1), st.integers(0, 60), st.floats(0, 1)),
    max_size=40,
    unique_by=lambda one: one[0],
).map(lambda rows: [scored(*row) for row in rows])


@given(_scored, st.integers(-10, 500), st.randoms(use_true_random=False))
def test_the_budget_holds_nothing_is_lost_and_order_does_not_matter(
    memories: list[ScoredMemory], budget: int, shuffler: random.Random
) -> None:
    packing = pack(memories, budget)
    assert packing.tokens == sum(one.tokens for one in packing.kept)
    assert packing.tokens <= max(0, budget)
    everything = [*packing.kept, *(one.memory for one in packing.dropped)]
    assert sorted(one.candidate.id for one in everything) == sorted(
        one.candidate.id for one in memories
    )
    left = budget - packing.tokens
    assert all(one.memory.tokens > left for one in packing.dropped if one.reason == "budget")

    shuffled = list(memories)
    shuffler.shuffle(shuffled)
    assert pack(shuffled, budget) == packing


def test_the_best_go_first_and_what_does_not_fit_is_skipped() -> None:
    best, long, short = scored(1, 0.9, 60), scored(2, 0.8, 50), scored(3, 0.7, 40)
    packing = pack([short, long, best], 100)
    assert packing.kept == (best, short)
    assert [(one.memory, one.reason) for one in packing.dropped] == [(long, "budget")]


def test_the_same_said_twice_is_given_once() -> None:
    kept = scored(1, 0.9, 10, embedding=direction(1.0, 0.0))
    alike = scored(2, 0.8, 10, embedding=direction(0.96, 0.28))
    near = scored(3, 0.7, 10, embedding=direction(0.90, -0.436))
    same_words = scored(4, 0.6, 10, content=kept.candidate.content)
    packing = pack([kept, alike, near, same_words], 100)
    assert packing.kept == (kept, near)
    assert {one.reason for one in packing.dropped} == {"duplicate"}


def test_a_duplicate_of_what_did_not_fit_may_be_given() -> None:
    long = scored(1, 0.9, 200, embedding=direction(1.0))
    short = scored(2, 0.8, 10, embedding=direction(1.0, 0.01))
    assert pack([long, short], 100).kept == (short,)


def test_the_unrelated_are_left_out_unless_they_say_how_to_act() -> None:
    unrelated = RELEVANCE_FLOOR - 0.01
    fact = scored(1, 0.9, 10, unrelated)
    wish = scored(2, 0.8, 10, unrelated, category=Category.PROCEDURAL)
    packing = pack([fact, wish], 100)
    assert packing.kept == (wish,)
    assert [one.reason for one in packing.dropped] == ["relevance"]
    assert pack([fact, wish], 100, floor=0.0).kept == (fact, wish)
