"""What the rate-limit stage estimates, charges and says."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from hotpath.proxy.exchange import Exchange
from hotpath.proxy.limits import Cost, duration, estimate, headers, refused, used
from ibex.asgi import Message
from ibex.rate_limits import Check, Kind, Outcome, Scope, Standing


def standing(
    scope: Scope, kind: Kind, limit: int, used: int, *, fits: bool = True, wait_ms: int = 0
) -> Standing:
    return Standing(Check(scope, kind, "k", limit, 1), used, fits, wait_ms, 61_000)


def cost(answer: int = 500, **fields: Any) -> Cost:
    return estimate(orjson.dumps(fields), fields, answer)


def exchange(status: int | None = 200, error: str = "", **facts: Any) -> Exchange:
    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    ended = Exchange({"headers": []}, receive, send, status=status)
    for name, value in ({"error": error} | facts).items():
        setattr(ended.facts, name, value)
    return ended


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (20, "20ms"),
        (1_000, "1s"),
        (8_640, "8.64s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (60_500, "1m0.5s"),
        (3_600_000, "1h0m0s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


def test_the_limit_that_leaves_least_is_told() -> None:
    told = dict(
        headers(
            Outcome(
                0,
                [
                    standing(Scope.TOKEN, Kind.REQUESTS, 10, 2),
                    standing(Scope.AGENT, Kind.REQUESTS, 60, 59),
                    standing(Scope.ORGANIZATION, Kind.TOKENS, 1000, 1200),
                ],
                local=False,
            )
        )
    )
    assert told == {
        b"x-ratelimit-limit-requests": "60",
        b"x-ratelimit-remaining-requests": "1",
        b"x-ratelimit-reset-requests": "1m1s",
        b"x-ratelimit-limit-tokens": "1000",
        b"x-ratelimit-remaining-tokens": "0",
        b"x-ratelimit-reset-tokens": "1m1s",
    }


def test_a_local_decision_says_so() -> None:
    one = standing(Scope.TOKEN, Kind.REQUESTS, 10, 2)
    assert dict(headers(Outcome(0, [one], local=True)))[b"x-ibex-rate-limit"] == "local"


def test_a_refusal_names_its_limit_and_rounds_the_wait_up() -> None:
    full = standing(Scope.AGENT, Kind.REQUESTS, 60, 60, fits=False, wait_ms=1_001)
    error = refused(full)
    assert "agent's limit of 60 requests" in error.message
    assert (error.status, error.kind, error.retry_after) == (429, "rate_limit_error", 2)


def test_waiting_does_not_help_a_request_that_is_larger_than_its_limit() -> None:
    check = Check(Scope.ORGANIZATION, Kind.TOKENS, "k", 10, 11)
    error = refused(Standing(check, 0, False, 0, 0))
    assert "organization's limit of 10 tokens" in error.message
    assert error.retry_after is None


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({}, 500),
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20, "max_tokens": 10}, 20),
        ({"max_tokens": 10, "n": 3}, 30),
        ({"max_tokens": "many", "n": -1}, 500),
        ({"max_tokens": True}, 500),
        ({"max_tokens": 10**30}, 2**31),
    ],
)
def test_an_answer_is_reserved_as_long_as_it_may_be(fields: Mapping[str, Any], answer: int) -> None:
    assert estimate(b"", fields, 500).answer == answer


def test_what_generates_nothing_reserves_no_answer() -> None:
    assert cost(answer=0, max_tokens=10).answer == 0


def test_a_prompt_is_estimated_by_its_bytes_and_a_picture_is_not() -> None:
    def said(*parts: Any) -> int:
        return cost(messages=[{"role": "user", "content": list(parts)}]).prompt

    assert cost(input="x" * 4000).prompt == 1003
    text = said({"type": "text", "text": "x" * 400})
    assert 100 < text < 130
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    assert 1000 < said({"type": "text", "text": "x" * 400}, picture) - text < 1050


def test_what_the_provider_reports_is_charged() -> None:
    assert used(exchange(prompt_tokens=7, completion_tokens=2), Cost(100, 500)) == 9


def test_without_a_report_what_passed_through_is_charged() -> None:
    assert used(exchange(answer_bytes=41), Cost(100, 500)) == 111
    assert used(exchange(complete=True), Cost(100, 500)) == 600
    gone = exchange(status=None, error="client_disconnected")
    assert used(gone, Cost(100, 500)) == 100
    refused_later = exchange(status=None, error="model_not_allowed")
    assert used(refused_later, Cost(100, 500)) == 0
    assert used(exchange(status=503, error="provider_status_503"), Cost(100, 500)) == 0
