from decimal import Decimal

import pytest

from ibex.pricing import cost_usd
from ibex.settings import Settings

PRICES = Settings.model_validate(
    {"model_prices": {"gpt-4o": [2.5, 10], "gpt-4o-mini": [0.15, 0.6], "local": [0, 0]}}
).model_prices


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("gpt-4o-mini-2024-07-18", "0.000270000"),
        ("openai/GPT-4o-mini", "0.000270000"),
        ("gpt-4o", "0.004500000"),
        ("local-7b", "0"),
        ("unknown", None),
    ],
)
def test_the_longest_prefix_gives_the_price(model: str, cost: str | None) -> None:
    found = cost_usd(model, 1_000, 200, PRICES)
    assert found == (None if cost is None else Decimal(cost))
