"""What a /metrics page says, read with Prometheus's own parser."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from pyreqwest.client import ClientBuilder

# Of the library's own process metrics, and of histograms.
OTHER_LABELS = frozenset({"le", "generation"})


@dataclass(frozen=True)
class Page:
    text: str = field(repr=False)
    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float] = field(repr=False)

    def value(self, name: str, **labels: str) -> float:
        """0 for what was never counted."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    @property
    def label_names(self) -> set[str]:
        return {label for _, labels in self.samples for label, _ in labels}

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples}


def read_page(text: str) -> Page:
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return Page(text, samples)


async def scrape(base: str, **headers: str) -> Page:
    async with ClientBuilder().no_proxy().build() as http:
        response = await http.get(f"{base}/metrics").headers(headers).build().send()
        text = await response.text()
        assert response.status == 200, text
        assert (response.get_header("content-type") or "").startswith("text/plain; version=0.0.4")
        return read_page(text)
