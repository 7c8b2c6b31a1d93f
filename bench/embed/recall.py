"""Whether the exported model finds what the original finds: LoCoMo's turns and questions.

Cosine search alone over one conversation's turns, without what recall adds to it. Nothing of the
data set is written anywhere; its licence forbids that.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from hotpath.embedder.model import Vectors

_ADVERSARIAL: Final = 5  # questions of this category have no answer in the conversation

Embed = Callable[[list[str]], Awaitable[Vectors]]


async def recall_at_10(file: Path, embed: Embed) -> tuple[float, int]:
    """Mean share of a question's evidence turns among the ten nearest turns; and questions."""
    shares = [
        share
        for sample in orjson.loads(file.read_bytes())
        for share in await _shares(sample, embed)
    ]
    return float(np.mean(shares)), len(shares)


async def _shares(sample: dict[str, Any], embed: Embed) -> list[float]:
    turns = {
        turn["dia_id"]: f"{turn['speaker']}: {turn['text']}"
        for name, session in sample["conversation"].items()
        if name.startswith("session_") and isinstance(session, list)
        for turn in session
    }
    ids = list(turns)
    asked = [
        (qa["question"], evidence)
        for qa in sample["qa"]
        if qa["category"] != _ADVERSARIAL and (evidence := set(qa["evidence"]) & turns.keys())
    ]
    rows = await embed(list(turns.values()))
    cosines = await embed([question for question, _ in asked]) @ rows.T
    return [
        len(evidence & {ids[place] for place in places}) / len(evidence)
        for (_, evidence), places in zip(asked, np.argsort(-cosines)[:, :10], strict=True)
    ]
