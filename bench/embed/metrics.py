"""What the embedding service counts, as Prometheus would read it."""

import re
from dataclasses import dataclass

from pyreqwest.client import ClientBuilder

from ibex.errors import EmbedderUnavailableError
from ibex.settings import Settings


@dataclass(frozen=True)
class CacheCounts:
    hits: int
    misses: int


async def cache_counts(settings: Settings) -> CacheCounts:
    """Raises EmbedderUnavailableError when a counter is not there."""
    async with ClientBuilder().no_proxy().build() as client:
        response = await client.get(f"{settings.embedder_endpoint}/metrics").build().send()
        text = await response.text()
    return CacheCounts(_count(text, "hits"), _count(text, "misses"))


def _count(text: str, name: str) -> int:
    found = re.search(rf"^ibex_embedder_cache_{name}_total (\S+)$", text, re.MULTILINE)
    if found is None:
        raise EmbedderUnavailableError(f"The embedding service does not count cache {name}.")
    return round(float(found[1]))
