"""What a model's tokens cost, by the prices that an operator has set (IBEX_MODEL_PRICES)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from ibex.model_names import by_prefix

#: US dollars per million tokens in and out, by prefix of a model's name.
Prices = Mapping[str, tuple[Decimal, Decimal]]

_MILLION: Final = 1_000_000
_PLACES: Final = Decimal("1e-9")  # as the database keeps them


def cost_usd(
    model: str, prompt_tokens: int, completion_tokens: int, prices: Prices
) -> Decimal | None:
    """In US dollars; None for a model without a price, which is not the same as free."""
    price = by_prefix(model, prices)
    if price is None:
        return None
    tokens_in, tokens_out = price
    return ((prompt_tokens * tokens_in + completion_tokens * tokens_out) / _MILLION).quantize(
        _PLACES
    )
