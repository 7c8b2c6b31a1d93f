"""The sandbox's answer to `ibex.extraction.judging`: by words alone."""

from typing import Any

import orjson

from ibex.sandbox.language import content_words


def verdict(lines: str) -> str:
    """The answer as JSON text: a duplicate has the same words of meaning; the rest is kept."""
    said: dict[str, Any] = {}
    for line in lines.splitlines():
        said |= orjson.loads(line)
    older, newer = (content_words(said[name]["content"]) for name in ("older", "newer"))
    resolution = "duplicate" if older == newer else "keep"
    reasoning = f"The sandbox model's rules found {len(older ^ newer)} words that differ."
    return orjson.dumps({"reasoning": reasoning, "resolution": resolution}).decode()
