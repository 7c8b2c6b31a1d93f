"""Every metric is documented, and no label can say who asked or what was said."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from hotpath.proxy.metrics import upstream_error
from hotpath.proxy.routes import route_of
from ibex.errors import AuthenticationError
from ibex.metrics import (
    LABELS,
    MILLISECONDS,
    SECONDS,
    check_reader,
    counter,
    defined,
    gauge,
    histogram,
    render,
)
from tests.scraping import read_page

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "observability.md"
_WHO_OR_WHAT = re.compile(
    "org|agent|user|session|token_|_token|request|id$|path|url|key|name|model|text|content|message"
)


def metrics() -> dict[str, tuple[str, ...]]:
    """Of every process, with their labels."""
    for package in ("ibex", "hotpath", "api", "assets", "orchestration"):
        for file in (ROOT / package).rglob("*.py"):
            if re.search(r"^from ibex\.metrics import", file.read_text(), re.MULTILINE):
                module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
                if not module.endswith("__main__"):
                    importlib.import_module(module)
    return {name: labels for name, labels in defined().items() if not name.startswith("ibex_test_")}


def documented() -> dict[str, tuple[str, ...]]:
    rows = re.findall(r"^\| `(ibex_\w+)` \| ([^|]*) \|", DOCUMENT.read_text(), re.MULTILINE)
    return {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_every_metric_is_documented_with_its_labels() -> None:
    found = metrics()
    assert len(found) > 30
    assert documented() == found


def test_no_label_says_who_asked_or_what_was_said() -> None:
    assert not {label for label in LABELS if _WHO_OR_WHAT.search(label)}
    assert {label for labels in metrics().values() for label in labels} <= LABELS


@pytest.mark.parametrize("label", ["org_id", "agent", "user", "model", "path"])
def test_a_label_that_is_not_listed_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match=label):
        counter("ibex_test_refused_total", "Refused.", (label,))


def test_the_same_name_is_the_same_metric() -> None:
    first = counter("ibex_test_twice_total", "Twice.", ("reason",))
    assert counter("ibex_test_twice_total", "Twice.", ("reason",)) is first
    with pytest.raises(ValueError, match="different"):
        counter("ibex_test_twice_total", "Twice.")
    with pytest.raises(ValueError, match="_total"):
        counter("ibex_test_wrong", "Wrong.")


def test_what_was_counted_is_on_the_page() -> None:
    counter("ibex_test_seen_total", "Seen.", ("reason",)).labels("late").inc(2)
    gauge("ibex_test_height", "Height.").set(3)
    histogram("ibex_test_seconds", "Time.").observe(0.004)
    page = read_page(render().decode())
    assert page.value("ibex_test_seen_total", reason="late") == 2
    assert page.value("ibex_test_height") == 3
    assert page.value("ibex_test_seconds_bucket", le="0.003") == 0
    assert page.value("ibex_test_seconds_bucket", le="0.005") == 1
    assert page.value("process_resident_memory_bytes") > 0
    assert not [name for name in page.names if name.endswith("_created")]


@pytest.mark.parametrize("buckets", [MILLISECONDS, SECONDS])
def test_buckets_rise(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))


def test_with_a_token_only_its_holder_reads() -> None:
    token = SecretStr("s3cret-ü")
    check_reader("", None)
    check_reader("Bearer s3cret-ü", token)
    for wrong in ("", "s3cret-ü", "Bearer s3cret", "Bearer s3cret-ü2"):
        with pytest.raises(AuthenticationError):
            check_reader(wrong, token)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (b"/v1/chat/completions", "/v1/chat/completions"),
        (b"/v1/sessions/my%20diary/complete", "/v1/sessions/{id}/complete"),
        (b"/v1/models/gpt-4o", "/v1/models/{model}"),
        (b"/v1/my-diary", "other"),
        (b"", "other"),
        (b"/", "other"),
        (b"/v1/chat/completions/x", "other"),
    ],
)
def test_a_route_is_never_the_path(path: bytes, route: str) -> None:
    assert route_of(path) == route


@pytest.mark.parametrize(
    ("code", "begun", "kind"),
    [
        ("provider_status_429", True, "status_429"),
        ("provider_status_404", False, "status_4xx"),
        ("provider_status_503", False, "status_5xx"),
        ("provider_unavailable", False, "unavailable"),
        ("provider_timeout", False, "timeout"),
        ("provider_unavailable", True, "broken_off"),
        ("invalid_request", False, None),
    ],
)
def test_how_the_models_server_failed(code: str, begun: bool, kind: str | None) -> None:
    assert upstream_error(code, begun=begun) == kind


def test_without_variables_nobody_loads_the_sdk() -> None:
    program = (
        "import sys; import hotpath.proxy.app, hotpath.assembler.server;"
        "from ibex.telemetry import Tracing; assert Tracing.open('x') is None;"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk.trace')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
