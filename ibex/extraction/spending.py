"""What the calls of a model come to: an entry of the books, and the sum of several."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from ibex.extraction.completion import Meter
from ibex.pricing import cost_usd
from ibex.settings import Settings
from ibex.stores.usage import Purpose, Usage


def spent(
    meter: Meter,
    settings: Settings,
    purpose: Purpose,
    prompt_version: str,
    *,
    model: str,
    run_id: str | None,
    org_id: UUID,
    agent_id: UUID,
    session_id: UUID | None,
    succeeded: bool,
) -> Usage | None:
    """None: no model was called. `model` is what was asked for, where no server named itself."""
    if not meter.calls:
        return None
    name = meter.model or model
    return Usage(
        org_id=org_id,
        agent_id=agent_id,
        session_id=session_id,
        purpose=purpose,
        run_id=run_id,
        prompt_version=prompt_version,
        model=name,
        calls=meter.calls,
        prompt_tokens=meter.prompt_tokens,
        completion_tokens=meter.completion_tokens,
        cost_usd=cost_usd(
            name, meter.prompt_tokens, meter.completion_tokens, settings.model_prices
        ),
        seconds=meter.seconds,
        succeeded=succeeded,
    )


def totals(entries: Iterable[Usage]) -> dict[str, Any]:
    """As an asset's metadata; without `cost_usd` where no model has a price."""
    listed = list(entries)
    costs = [one.cost_usd for one in listed if one.cost_usd is not None]
    sums: dict[str, Any] = {
        "calls": sum(one.calls for one in listed),
        "prompt_tokens": sum(one.prompt_tokens for one in listed),
        "completion_tokens": sum(one.completion_tokens for one in listed),
        "model_seconds": round(sum(one.seconds for one in listed), 3),
        "models": sorted({one.model for one in listed}),
    }
    return sums | ({"cost_usd": float(sum(costs))} if costs else {})
