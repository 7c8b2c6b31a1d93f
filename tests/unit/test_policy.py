"""What an agent's policy says, and whom it has the proxy ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath.proxy.policy import Plan, Target, check_model, plan_of
from ibex.errors import InvalidRequestError, ModelNotAllowedError
from ibex.ids import new_id
from ibex.policy import AgentPolicy, Fallback, check_policy, policy_document, policy_of
from ibex.rpc import VerifiedAgent

FALLBACKS = (Fallback("second", "b"), Fallback("default", "c"))


def agent(*allowed: str, provider: str = "default", retries: int = 0) -> VerifiedAgent:
    return VerifiedAgent(
        new_id(),
        "a",
        None,
        frozenset(allowed),
        provider=provider,
        fallbacks=FALLBACKS,
        retries=retries,
    )


@given(
    default=st.none() | st.just("m"),
    allowed=st.lists(st.sampled_from(["m", "n"]), unique=True),
    provider=st.none() | st.just("second"),
    fallbacks=st.lists(st.builds(Fallback, st.just("p"), st.text(min_size=1)), max_size=3),
    retries=st.integers(0, 5),
    limit=st.none() | st.floats(0.1, 100),
)
def test_a_policy_survives_its_document(
    default: str | None,
    allowed: list[str],
    provider: str | None,
    fallbacks: list[Fallback],
    retries: int,
    limit: float | None,
) -> None:
    document = policy_document(
        default_model=default,
        allowed_models=allowed,
        provider=provider,
        fallbacks=fallbacks,
        retries=retries,
        first_byte_timeout=limit,
    )
    assert policy_of(document) == AgentPolicy(
        default, frozenset(allowed), provider or "default", tuple(fallbacks), retries, limit
    )


def test_what_a_policy_does_not_say_has_a_default() -> None:
    assert policy_of({}) == AgentPolicy()
    assert policy_of({"fallbacks": ["x", {"provider": "p"}], "retries": 99, "new": 1}) == (
        AgentPolicy(retries=5)
    )
    with pytest.raises(InvalidRequestError):
        check_policy("m", ["n"])
    check_policy("m", [])


def test_the_plan_is_the_model_then_the_fallbacks() -> None:
    first = Target("default", "m")
    others = (Target("second", "b"), Target("default", "c"))
    assert plan_of(agent(retries=2), "m", None) == Plan((first, *others), retries=2)
    assert plan_of(agent(), "c", None).targets == (Target("default", "c"), Target("second", "b"))
    assert plan_of(agent(), None, None, fallbacks=False).targets == (Target("default", None),)


@pytest.mark.parametrize("provider", ["default", "second", "third"])
def test_a_callers_own_key_stays_with_the_agents_provider(provider: str) -> None:
    plan = plan_of(agent(provider=provider), "m", "sk-own")
    assert plan.key == "sk-own"
    assert {target.provider for target in plan.targets} == {provider}
    assert "sk-own" not in repr(plan)


def test_a_request_that_goes_on_as_it_is_must_name_an_allowed_model() -> None:
    check_model(agent(), None)
    check_model(agent("m"), "m")
    with pytest.raises(ModelNotAllowedError):
        check_model(agent("m"), "n")
    with pytest.raises(InvalidRequestError):
        check_model(agent("m"), None)
