"""What becomes of statements, in a world where it is known which are about the same thing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibex.ids import new_id
from ibex.memory.conflicts import Resolution, Statement, Verdict
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.statements import Belief, Neighbour, Plan, Stated
from ibex.memory.writing import content_hash
from ibex.memory.writing.planning import CONFLICT, confidence_of, plan, words_of
from tests.unit.candidates import direction

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=365)
MADE_BY = Provenance(None, "test", "test", "test", None)


def said(
    value: str, day: int, *, detail: int = 0, way: int = 0, source: Source = Source.USER
) -> Stated:
    """'host=a' on that day: about the host, that it is a. More detail says all of less."""
    content = f"{value} detail {detail} way {way}"
    slot = value.split("=", maxsplit=1)[0]
    return Stated(
        id=new_id(),
        fact=Fact(Category.DECLARATIVE, content, 0.9, source, (1,), subject=slot, attribute=value),
        content_hash=content_hash(content),
        redactions={},
        valid_from=START + timedelta(days=day),
        provenance=MADE_BY,
        embedding=direction(*(float(slot == name) for name in ("host", "port", "city"))),
    )


def judge(older: Statement, newer: Statement, cosine: float) -> Verdict:
    assert (older.valid_from, content_hash(older.content)) < (
        newer.valid_from,
        content_hash(newer.content),
    )
    assert cosine > CONFLICT
    if older.attribute != newer.attribute:
        resolution = Resolution.SUPERSEDE
    elif _detail(newer) > _detail(older):
        resolution = Resolution.MERGE
    else:
        resolution = Resolution.DUPLICATE
    return Verdict(resolution, "It is known.", "oracle")


def _detail(statement: Statement) -> int:
    return int(statement.content.split()[2])


@dataclass
class Memory:
    belief: Belief
    words: Stated
    said: list[Stated]


@dataclass
class World:
    """What the database does with plans, in a dictionary."""

    memories: dict[UUID, Memory] = field(default_factory=dict)
    edges: set[tuple[str, str, str]] = field(default_factory=set)

    def write(self, *stated: Stated, now: datetime = NOW) -> None:
        waiting = list(stated)
        while waiting:
            made = plan(waiting, [self._near(one) for one in waiting], judge, now)
            waiting = self._apply(made)

    @property
    def believed(self) -> set[tuple[str, int, int | None]]:
        """Of every memory: its words, the day it holds from, the day its validity ends."""
        return {
            (
                one.words.fact.content,
                (one.belief.valid_from - START).days,
                (one.belief.valid_to - START).days if one.belief.valid_to else None,
            )
            for one in self.memories.values()
        }

    @property
    def in_force(self) -> set[str]:
        return {
            one.words.fact.attribute
            for one in self.memories.values()
            if one.belief.valid_to is None
        }

    def _near(self, stated: Stated) -> list[Neighbour]:
        return [
            Neighbour(
                memory.belief,
                one.judged,
                one.content_hash,
                one.fact.source,
                float(one.embedding @ stated.embedding),
            )
            for memory in self.memories.values()
            for one in memory.said
            if one.embedding @ stated.embedding > CONFLICT
        ]

    def _apply(self, made: Plan) -> list[Stated]:
        released = list(made.released)
        for new in made.created:
            belief = Belief(
                new.id, new.words.content_hash, new.valid_from, new.valid_to, new.superseded_by
            )
            self.memories[new.id] = Memory(belief, new.words, [new.words])
        for joined in made.joined:
            memory = self.memories[joined.memory_id]
            memory.said = sorted([*memory.said, joined.stated], key=lambda one: one.valid_from)
        for changed in made.changed:
            memory = self.memories[changed.id]
            memory.words = changed.words or memory.words
            end = changed.valid_to
            left = [one for one in memory.said if end and one.valid_from >= end]
            memory.said = [one for one in memory.said if one not in left]
            if memory.words.content_hash not in {one.content_hash for one in memory.said}:
                memory.words = words_of(memory.said, judge)
            memory.belief = Belief(
                changed.id,
                memory.words.content_hash,
                changed.valid_from,
                end,
                changed.superseded_by,
            )
            released += left
        for edge in made.edges:
            ends = (self.memories[one].words.fact.attribute for one in (edge.from_id, edge.to_id))
            self.edges.add((*ends, edge.kind))  # type: ignore[arg-type]
        return released


def world(*writes: Stated | Sequence[Stated]) -> World:
    made = World()
    for one in writes:
        made.write(*([one] if isinstance(one, Stated) else one))
    return made


def test_the_same_in_other_words_is_one_memory_in_its_first_words() -> None:
    made = world(said("host=a", 1), said("host=a", 2, way=1), said("port=1", 2))
    assert made.believed == {
        ("host=a detail 0 way 0", 1, None),
        ("port=1 detail 0 way 0", 2, None),
    }


def test_a_newer_value_ends_the_older_ones_validity() -> None:
    made = world(said("host=a", 1), said("host=b", 5))
    older, newer = sorted(made.memories.values(), key=lambda one: one.belief.valid_from)
    assert older.belief.valid_to == newer.belief.valid_from
    assert older.belief.superseded_by == newer.belief.id
    assert made.edges == {("host=b", "host=a", "supersedes")}


def test_what_arrives_late_takes_its_place_in_history() -> None:
    made = world(said("host=a", 1), said("host=c", 9), said("host=b", 5))
    assert {(words[:6], since, until) for words, since, until in made.believed} == {
        ("host=a", 1, 5),
        ("host=b", 5, 9),
        ("host=c", 9, None),
    }
    by_value = {one.words.fact.attribute: one.belief for one in made.memories.values()}
    assert by_value["host=a"].superseded_by == by_value["host=b"].id
    assert by_value["host=b"].superseded_by == by_value["host=c"].id


def test_a_value_that_returns_is_a_memory_of_its_own() -> None:
    made = world([said("host=a", 1), said("host=a", 9, way=1)], said("host=b", 5))
    assert made.believed == {
        ("host=a detail 0 way 0", 1, 5),
        ("host=b detail 0 way 0", 5, 9),
        ("host=a detail 0 way 1", 9, None),
    }


def test_more_detail_gives_a_memory_its_words() -> None:
    made = world(said("host=a", 1), said("host=a", 2, detail=1), said("host=a", 3, way=2))
    assert made.believed == {("host=a detail 1 way 0", 1, None)}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_same_words_as_a_wish_are_more_than_as_an_episode(order: tuple[int, ...]) -> None:
    one = said("host=a", 1)
    told = [
        replace(one, id=new_id(), fact=replace(one.fact, category=category))
        for category in (Category.EPISODIC, Category.DECLARATIVE, Category.PROCEDURAL)
    ]
    for batches in ([[told[place] for place in order]], [[told[place]] for place in order]):
        world = World()
        for batch in batches:
            world.write(*batch)
        (memory,) = world.memories.values()
        assert memory.words.fact.category is Category.PROCEDURAL
        assert words_of(memory.said, judge).fact.category is Category.PROCEDURAL
        plan_again = plan(told, [world._near(one) for one in told], judge, NOW)
        assert all(one.words is None for one in plan_again.changed)


def test_what_is_said_at_one_time_stays_with_an_edge() -> None:
    made = world([said("host=a", 1), said("host=b", 1)])
    assert made.in_force == {"host=a", "host=b"}
    assert {kind for _, _, kind in made.edges} == {"contradicts"}


@pytest.mark.parametrize("source", [Source.TOOL, Source.DOCUMENT, Source.IMPORT])
def test_words_of_others_do_not_end_what_a_user_said(source: Source) -> None:
    made = world(said("host=a", 1), said("host=b", 2, source=source))
    assert made.in_force == {"host=a", "host=b"}
    assert made.edges == {("host=b", "host=a", "contradicts")}
    made = world(said("host=a", 1, source=source), said("host=b", 2))
    assert made.in_force == {"host=b"}


def test_what_holds_only_later_ends_nothing_yet() -> None:
    made = World()
    made.write(said("host=a", 1), said("host=b", 20), now=START + timedelta(days=10))
    assert made.in_force == {"host=a", "host=b"}
    assert made.edges == {("host=b", "host=a", "related")}


def test_statements_of_several_sessions_make_a_memory_surer() -> None:
    one, other = new_id(), new_id()
    assert confidence_of([(one, 0.6)]) == 0.6
    assert confidence_of([(one, 0.6), (one, 0.5)]) == 0.6
    assert confidence_of([(one, 0.6), (other, 0.5)]) == pytest.approx(0.8)
    assert confidence_of([(one, 0.99), (other, 0.99)]) == 0.99
    assert confidence_of([(one, 1.0), (other, 0.1)]) == 1.0


def test_of_a_value_that_returned_each_time_keeps_its_own_words() -> None:
    two, before, after, between = (
        said("port=2", 0),
        said("port=1", 1, detail=1),
        said("port=1", 3, detail=1),
        said("port=2", 2),
    )
    first = said("port=1", 0)
    at_once = world([two, before, after, between, first])
    assert at_once.believed == {
        ("port=2 detail 0 way 0", 0, 1),
        ("port=1 detail 1 way 0", 0, 2),
        ("port=2 detail 0 way 0", 2, 3),
        ("port=1 detail 1 way 0", 3, None),
    }
    assert world(two, after, between, first, before).believed == at_once.believed
    assert world(two, after, between, before, first).believed == at_once.believed


STATEMENTS = st.lists(
    st.builds(
        said,
        st.sampled_from(["host=a", "host=b", "host=c", "port=1", "port=2"]),
        st.integers(0, 6),
        detail=st.integers(0, 1),
        way=st.integers(0, 1),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=500, deadline=None)
@given(STATEMENTS, st.data())
def test_no_order_batch_or_retry_changes_what_is_believed(
    stated: list[Stated], data: st.DataObject
) -> None:
    at_once = world(stated)
    order = data.draw(st.permutations(stated))
    again = data.draw(st.lists(st.sampled_from(stated), max_size=3))
    one_by_one = world(*order, *(replace(one, id=new_id()) for one in again))
    assert one_by_one.believed == at_once.believed
    halves = world(order[: len(order) // 2], order[len(order) // 2 :])
    assert halves.believed == at_once.believed


@settings(max_examples=100, deadline=None)
@given(STATEMENTS)
def test_history_has_no_gap_and_nothing_is_lost(stated: list[Stated]) -> None:
    made = world(stated)
    for one in stated:
        holding = [
            memory
            for memory in made.memories.values()
            if memory.words.fact.attribute == one.fact.attribute
            and memory.belief.valid_from <= one.valid_from
            and (memory.belief.valid_to is None or one.valid_from < memory.belief.valid_to)
        ]
        assert holding, "what was said is not believed at its time"
    assert {memory.words.fact.subject for memory in made.memories.values()} == {
        one.fact.subject for one in stated
    }
