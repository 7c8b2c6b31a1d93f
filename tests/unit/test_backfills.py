"""What differs between two readings of the same sessions, and what each of them is worth."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.backfills.differing import Held, Shown, changes, heirs, unchanged
from ibex.backfills.model import Kind
from ibex.backfills.quality import Quality
from ibex.backfills.wishing import wish
from ibex.errors import InvalidRequestError, UnknownPromptError
from ibex.extraction.prompts import BUILT_IN
from ibex.extraction.transcript import TurnMessage, TurnText
from ibex.ids import new_id
from ibex.memory.model import Category, Fact, Provenance, Source, Vector
from ibex.memory.statements import Changed, Edge, Joined, NewMemory, Plan, Stated
from ibex.settings import Settings

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SESSION = new_id()


def direction(angle: float) -> Vector:
    vector = np.zeros(384, np.float32)
    vector[:2] = np.cos(angle), np.sin(angle)
    return vector


def shown(angle: float, session: UUID | None = SESSION) -> Shown:
    return Shown(new_id(), "words", session, 0.9, direction(angle))


def held(words: bytes, **values: object) -> Held:
    given_: dict[str, object] = {
        "category": "declarative",
        "status": "active",
        "valid_from": NOW,
        "valid_to": None,
    }
    return Held(words, **given_ | values)  # type: ignore[arg-type]


def test_the_nearest_of_the_same_session_takes_the_place() -> None:
    old, new = [shown(0.0), shown(0.3)], [shown(0.1), shown(1.2), shown(0.01, new_id())]
    assert heirs(old, new) == {old[0].id: new[0].id}
    assert heirs(old, [*new, shown(0.3)]).keys() == {old[0].id, old[1].id}
    assert heirs([shown(0.0, None)], [shown(0.0, None)]) == {}


@given(st.lists(st.floats(0, 1.5), max_size=6), st.lists(st.floats(0, 1.5), max_size=6))
def test_nobody_has_two_heirs_and_nobody_inherits_twice(old: list[float], new: list[float]) -> None:
    found = heirs([shown(angle) for angle in old], [shown(angle) for angle in new])
    assert len(set(found.values())) == len(found)


def test_changes_are_added_gone_or_changed_and_the_rest_is_the_same() -> None:
    same, gone, moved, old, new, added = (new_id() for _ in range(6))
    before = {
        same: held(b"1"),
        gone: held(b"2"),
        moved: held(b"3"),
        old: held(b"4"),
    }
    after = {
        same: held(b"1"),
        moved: held(b"3", valid_to=NOW + timedelta(days=1), status="quarantined"),
        new: held(b"5", category="procedural"),
        added: held(b"6"),
    }
    said = {one: Shown(one, str(one), SESSION, 0.5, direction(0)) for one in after}
    found = changes(before, after, {old: new}, said)
    assert {(one.kind, one.memory_id, one.content, one.differs) for one in found} == {
        (Kind.GONE, gone, None, ()),
        (Kind.CHANGED, moved, str(moved), ("validity", "status")),
        (Kind.CHANGED, old, str(new), ("words", "category")),
        (Kind.ADDED, None, str(added), ()),
    }
    assert unchanged({same, moved, gone}, before, after) == 1


def _turn(*messages: tuple[str, str]) -> TurnText:
    return TurnText(1, NOW, tuple(TurnMessage(role, text) for role, text in messages))


def test_quality_counts_what_is_empty_echoed_repeated_and_grounded() -> None:
    turns = [
        _turn(
            ("system", "You are a cheerful gardening concierge who answers in rhymes."),
            ("user", "My greenhouse holds tomatoes, mail me at a@example.com."),
        )
    ]
    words = [
        "User's greenhouse holds tomatoes.",
        "The greenhouse holds tomatoes.",
        "A cheerful gardening concierge who answers in rhymes.",
        "User: ok.",
        "User's mail is [EMAIL].",
    ]
    vectors = [direction(angle) for angle in (0.0, 0.01, 0.6, 1.1, 1.57)]
    found = Quality.of(words, vectors, turns, "Find facts.")
    assert (found.statements, found.junk, found.duplicates) == (5, 2, 1)
    assert found.grounded_share == pytest.approx(found.grounded / found.terms)
    assert Quality.of(words[:2], vectors[:2], turns, "").grounded_share == 1
    assert Quality.of([], [], turns, "").summary() == {
        "statements": 0,
        "junk_share": 0,
        "duplicate_share": 0,
        "grounded_share": 0,
    }
    assert Quality.from_figures(found.figures()) == found
    assert Quality.total([found, found]).junk == 4


def _stated(words: str) -> Stated:
    fact = Fact(Category.DECLARATIVE, words, 0.9, Source.USER, (1,))
    made_by = Provenance(SESSION, "facts/1", "p", "m", None)
    return Stated(new_id(), fact, words.encode(), {}, NOW, made_by, direction(0))


def test_a_plan_takes_the_ids_of_what_comes_back() -> None:
    first, second, stored, aside = (new_id() for _ in range(4))
    plan = Plan(
        created=[
            NewMemory(first, _stated("a"), NOW, NOW, second),
            NewMemory(second, _stated("b"), NOW),
        ],
        joined=[Joined(second, _stated("c"))],
        changed=[Changed(stored, NOW, NOW, second, None, moved=True, closed=True)],
        edges=[Edge(second, first, "supersedes", "")],
        released=[],
    )
    made = plan.renamed({second: aside})
    assert [(one.id, one.superseded_by) for one in made.created] == [(first, aside)]
    assert [one.id for one in made.revived] == [aside]
    assert [(one.memory_id, one.stated.fact.content) for one in made.joined] == [
        (aside, "b"),
        (aside, "c"),
    ]
    assert made.changed[0].superseded_by == aside
    assert (made.edges[0].from_id, made.edges[0].to_id) == (aside, first)
    assert plan.renamed({}) is plan


def test_a_wish_is_checked_and_takes_what_is_in_use() -> None:
    settings = Settings(extraction_model="small")
    made = wish(settings, datetime(2026, 1, 1))  # noqa: DTZ001 — as a command line gives it
    assert (made.since, made.until, made.model) == (datetime(2026, 1, 1, tzinfo=UTC), None, "small")
    assert made.prompt_version == BUILT_IN[made.prompt].version
    with pytest.raises(InvalidRequestError):
        wish(settings, NOW, NOW)
    with pytest.raises(UnknownPromptError):
        wish(settings, NOW, prompt="none")
