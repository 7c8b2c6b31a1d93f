"""The rate-limit stage: lets a request through or answers 429, and says how the limits stand.

It runs once the body is there, because a request for tokens is counted by what it may cost: the
prompt by its bytes, the answer by what the client allows. When the answer has ended, the estimate
gives way to what the provider reports. The headers have OpenAI's names and durations.
Source: https://platform.openai.com/docs/guides/rate-limits
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from hotpath.proxy.caller import Caller
from hotpath.proxy.exchange import Exchange
from ibex.errors import RateLimitedError
from ibex.rate_limits import Check, Kind, Limits, Outcome, Scope, Standing
from ibex.settings import Settings
from ibex.stores import keys
from ibex.stores.rate_limits import RateLimiter, Reservation, open_limiter_client

_BYTES_A_TOKEN: Final = 4
_TOKENS_A_MEDIUM: Final = 1_000  # of an image, a sound, a file: its bytes say nothing
_MOST_CHOICES: Final = 128
_LONGEST_ANSWER: Final = 2**31

_NAMES: Final = {
    Scope.TOKEN: "access token",
    Scope.AGENT: "agent",
    Scope.ORGANIZATION: "organization",
}


@dataclass(frozen=True)
class Cost:
    """An estimate in model tokens, before the request."""

    prompt: int
    answer: int


@dataclass(frozen=True)
class Admission:
    """What an exchange was let through with, until it is settled."""

    reservation: Reservation
    cost: Cost


class RateLimits:
    def __init__(self, settings: Settings, limiter: RateLimiter) -> None:
        self._defaults = {
            Scope.TOKEN: Limits(
                settings.rate_limit_token_requests, settings.rate_limit_token_tokens
            ),
            Scope.AGENT: Limits(
                settings.rate_limit_agent_requests, settings.rate_limit_agent_tokens
            ),
            Scope.ORGANIZATION: Limits(
                settings.rate_limit_organization_requests, settings.rate_limit_organization_tokens
            ),
        }
        self._by_default = any(self._defaults.values())
        self._answer_tokens = settings.rate_limit_answer_tokens
        self._limiter = limiter
        self.counters = limiter.counters

    def limited(self, caller: Caller) -> bool:
        """Whether there may be a limit; without one, `admit` need not be awaited."""
        token, agent = caller.token, caller.agent
        return self._by_default or bool(token.limits or agent.limits or token.org_limits)

    async def admit(
        self,
        exchange: Exchange,
        caller: Caller,
        raw: bytes,
        fields: Mapping[str, Any],
        *,
        generates: bool = True,
    ) -> None:
        """`raw` is the decompressed body and `fields` the same parsed; `generates`: the answer is
        text that costs tokens. Raises RateLimitedError."""
        cost = estimate(raw, fields, self._answer_tokens if generates else 0)
        checks = self._checks(caller, cost)
        if not checks:
            return
        with exchange.measure("limits"):
            outcome = await self._limiter.reserve(checks)
        for name, value in headers(outcome):
            exchange.set_header(name, value)
        refusal = outcome.refusal
        if refusal is not None:
            if refusal.never_fits:
                exchange.set_header(b"x-should-retry", "false")
            raise refused(refusal)
        exchange.admission = Admission(Reservation(outcome), cost)

    def settle(self, exchange: Exchange) -> None:
        """When the exchange has ended: count what it really cost. Does not wait."""
        admission, exchange.admission = exchange.admission, None
        if admission is not None:
            self._limiter.settle(admission.reservation, used(exchange, admission.cost))

    async def answers(self) -> bool:
        """Whether Redis does."""
        return await self._limiter.answers()

    def _checks(self, caller: Caller, cost: Cost) -> list[Check]:
        org_id = caller.token.org_id
        amounts = {Kind.REQUESTS: 1, Kind.TOKENS: cost.prompt + cost.answer}
        return [
            Check(scope, kind, keys.rate_limit(org_id, scope, owner, kind), limit, amounts[kind])
            for scope, owner, kind, limit in self._limits(caller)
            if limit
        ]

    def _limits(self, caller: Caller) -> Iterable[tuple[Scope, UUID, Kind, int]]:
        token, agent = caller.token, caller.agent
        for scope, owner, own in (
            (Scope.TOKEN, token.token_id, token.limits),
            (Scope.AGENT, agent.id, agent.limits),
            (Scope.ORGANIZATION, token.org_id, token.org_limits),
        ):
            limits = own.over(self._defaults[scope])
            yield scope, owner, Kind.REQUESTS, limits.requests or 0
            yield scope, owner, Kind.TOKENS, limits.tokens or 0


async def open_limits(settings: Settings, stack: AsyncExitStack) -> RateLimits:
    """Redis need not answer yet."""
    client = open_limiter_client(settings)
    stack.push_async_callback(client.aclose)
    limiter = RateLimiter(client, settings.rate_limit_timeout_ms / 1000)
    limiter.start()
    stack.push_async_callback(limiter.close)
    return RateLimits(settings, limiter)


def estimate(raw: bytes, fields: Mapping[str, Any], answer_tokens: int) -> Cost:
    """`answer_tokens` is for one answer when the client does not say how long it may be; 0: there
    is none."""
    media = list(_media(fields.get("messages")))
    text = max(len(raw) - sum(media), 0)
    prompt = math.ceil(text / _BYTES_A_TOKEN) + _TOKENS_A_MEDIUM * len(media)
    if not answer_tokens:
        return Cost(prompt, 0)
    said = fields.get("max_completion_tokens") or fields.get("max_tokens")
    longest = _count(said, _LONGEST_ANSWER) or answer_tokens
    return Cost(prompt, longest * (_count(fields.get("n"), _MOST_CHOICES) or 1))


def used(exchange: Exchange, cost: Cost) -> int:
    """Tokens that the exchange cost: what the provider said, else what passed through, and for an
    answer of which nothing is known what was reserved."""
    facts = exchange.facts
    refused_upstream = exchange.status is not None and not 200 <= exchange.status < 300
    never_sent = exchange.status is None and facts.error != "client_disconnected"
    if facts.prompt_tokens is None and (refused_upstream or never_sent):
        return 0
    prompt = cost.prompt if facts.prompt_tokens is None else facts.prompt_tokens
    answer = facts.completion_tokens
    if answer is None:
        answer = math.ceil(facts.answer_bytes / _BYTES_A_TOKEN)
        if facts.complete and not answer:
            answer = cost.answer
    return prompt + answer


def refused(standing: Standing) -> RateLimitedError:
    check = standing.check
    name = f"The {_NAMES[check.scope]}'s limit of {check.limit} {check.kind} a minute"
    if standing.never_fits:
        return RateLimitedError(
            f"{name} is smaller than this request, which may take {check.amount}.",
            hint="Send less, lower max_tokens, or have an operator raise the limit.",
        )
    return RateLimitedError(
        f"{name} is reached: {standing.used} used, {check.amount} requested.",
        retry_after=max(math.ceil(standing.wait_ms / 1000), 1),
    )


def headers(outcome: Outcome) -> list[tuple[bytes, str]]:
    """Of requests and of tokens, the limit that leaves least."""
    told: list[tuple[bytes, str]] = [(b"x-ibex-rate-limit", "local")] if outcome.local else []
    for kind in Kind:
        tightest = _tightest(outcome.standings, kind)
        if tightest is not None:
            suffix = kind.encode()
            told += [
                (b"x-ratelimit-limit-" + suffix, str(tightest.check.limit)),
                (b"x-ratelimit-remaining-" + suffix, str(tightest.remaining)),
                (b"x-ratelimit-reset-" + suffix, duration(tightest.reset_ms)),
            ]
    return told


def duration(milliseconds: int) -> str:
    """As OpenAI writes it: 20ms, 1s, 1.5s, 6m0s, 1h0m0s."""
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _tightest(standings: Sequence[Standing], kind: Kind) -> Standing | None:
    of_kind = [one for one in standings if one.check.kind is kind]
    return min(of_kind, key=lambda one: (one.fits, one.remaining), default=None)


def _media(messages: object) -> Iterable[int]:
    """The length of what is not text in the messages."""
    for message in messages if isinstance(messages, list) else ():
        parts = message.get("content") if isinstance(message, Mapping) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, Mapping) and "text" not in part:
                yield _longest_text(part)


def _longest_text(part: Mapping[str, Any]) -> int:
    """{"image_url": {"url": …}}, {"input_audio": {"data": …}}, {"file": {"file_data": …}}."""
    values = [
        inner
        for value in part.values()
        for inner in (value.values() if isinstance(value, Mapping) else (value,))
    ]
    return max((len(value) for value in values if isinstance(value, str)), default=0)


def _count(value: object, most: int) -> int:
    """0: it is none. One that is too large is as large as it may be."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(value, 0), most)
