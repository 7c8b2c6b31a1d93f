"""What several users said, and what stays theirs."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.memory.conflicts import Statement, judge
from ibex.memory.model import Category
from ibex.memory.promotion import Told, agreed, may_be_common

START = datetime(2026, 3, 1, tzinfo=UTC)
FACT = "Deploys run from the Lyon office at noon."


def told(
    number: int,
    content: str = FACT,
    *,
    user: int | None = None,
    category: Category = Category.DECLARATIVE,
    subject: str = "deploys",
) -> Told:
    """Number n is user n's unless it says otherwise; user 0 is the agent."""
    owner = number if user is None else user
    statement = Statement(content, category, subject, "", 0.9, START + timedelta(days=number))
    return Told(UUID(int=number), UUID(int=owner) if owner else None, statement)


def near(*others: Told, cosine: float = 0.97) -> list[tuple[Told, float]]:
    return [(one, cosine) for one in others]


@given(st.permutations([1, 2, 3, 4]))
def test_enough_users_make_it_common_whoever_said_it_last(order: list[int]) -> None:
    last, *others = [told(number) for number in order]
    found = agreed(last, near(*others), judge, 4)
    assert [one.id.int for one in found] == [1, 2, 3, 4]
    assert agreed(last, near(*others), judge, 5) == ()


def test_one_user_who_says_it_often_is_one() -> None:
    again = [told(number, user=1) for number in (1, 2, 3, 4)]
    assert agreed(again[0], near(*again[1:]), judge, 2) == ()


@pytest.mark.parametrize("when", ["at midnight", "at 18:00", "never at noon"])
def test_who_says_otherwise_stops_it(when: str) -> None:
    other = told(4, f"Deploys run from the Lyon office {when}.")
    assert agreed(told(1), near(told(2), told(3)), judge, 3)
    assert agreed(told(1), near(told(2), told(3), other), judge, 3) == ()


def test_what_the_agent_knows_is_not_promoted_again() -> None:
    assert agreed(told(1), near(told(2), told(3), told(9, user=0)), judge, 3) == ()


def test_what_only_sounds_alike_does_not_count() -> None:
    fuller = told(3, "Deploys run from the Lyon office at noon, announced by mail the day before.")
    assert agreed(told(1), near(told(2), fuller), judge, 3) == ()


@pytest.mark.parametrize(
    ("content", "subject"),
    [
        ("User lives in Berlin.", "User"),
        ("My host is db.example.com.", ""),
        ("Caroline: The office is in Lyon.", "office"),
        ("The office of [EMAIL] is in Lyon.", "office"),
        ("The host is db.example.com.", "User's database"),
        ("We meet on Mondays.", "meeting"),
        ("Mein Server steht in Bonn.", ""),
    ],
)
def test_what_is_somebodys_own_stays_theirs(content: str, subject: str) -> None:
    own = [told(number, content, subject=subject) for number in (1, 2, 3)]
    assert not may_be_common(own[0].statement)
    assert agreed(own[0], near(*own[1:]), judge, 3) == ()


@pytest.mark.parametrize("category", [Category.PROCEDURAL, Category.EPISODIC])
def test_neither_wishes_nor_events_become_everybodys(category: Category) -> None:
    own = [told(number, category=category) for number in (1, 2, 3)]
    assert agreed(own[0], near(*own[1:]), judge, 3) == ()
