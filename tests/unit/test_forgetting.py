from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.ids import new_id
from ibex.memory.forgetting import Retention, Standing, for_agent, least
from ibex.memory.model import Category
from ibex.memory.scoring import static_score
from ibex.settings import Settings
from tests.unit.candidates import candidate

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SETTINGS = Settings(
    retention_procedural_days=0,
    retention_declarative_days=700,
    retention_episodic_days=90,
    memory_limit_agent=1_000,
)


def test_an_agents_rule_counts_then_its_organizations_then_the_deployments() -> None:
    own = Retention(episodic_days=0)
    organization = Retention(declarative_days=365, episodic_days=30)
    rules = for_agent(own, organization, SETTINGS)
    assert rules == Retention(0, 365, 0, 1_000)
    assert rules.days(Category.DECLARATIVE) == 365
    assert rules.days(Category.EPISODIC) == 0


def test_how_many_an_organization_has_is_no_rule_for_one_agent() -> None:
    organization = Retention(memories=50)
    assert for_agent(Retention(), organization, SETTINGS).memories == 1_000
    assert for_agent(Retention(memories=5), organization, SETTINGS).memories == 5


@pytest.mark.parametrize(
    "stored",
    [None, [], "30", {"episodic_days": -1}, {"episodic_days": True}, {"episodic_days": "9"}],
)
def test_a_rule_that_is_not_understood_makes_nobody_forget(stored: object) -> None:
    assert Retention.of(stored) == Retention()


def test_rules_are_stored_as_they_were_said() -> None:
    rules = Retention(episodic_days=0, memories=10)
    assert rules.as_dict() == {"episodic_days": 0, "memories": 10}
    assert Retention.of(rules.as_dict()) == rules


STANDING = st.builds(
    lambda category, days, usefulness, confidence, accesses: Standing(
        new_id(), category, NOW - timedelta(days=days), usefulness, confidence, accesses
    ),
    st.sampled_from(Category),
    st.floats(0, 5_000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 200),
)


@given(st.lists(STANDING, max_size=30), st.integers(0, 40))
def test_what_stays_is_worth_no_less_than_what_goes(standing: list[Standing], count: int) -> None:
    gone = least(standing, count, NOW)
    assert len(gone) == min(count, len(standing))
    scores = {one.id: static_score(candidate(**one._asdict()), NOW) for one in standing}
    kept = [score for memory_id, score in scores.items() if memory_id not in gone]
    assert max((scores[one] for one in gone), default=0.0) <= min(kept, default=1.0) + 1e-9
