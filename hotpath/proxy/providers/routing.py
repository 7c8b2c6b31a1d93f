"""Sends a request to the first provider of its plan that answers.

Everything here happens before the first byte goes out to the client: a try that failed is repeated
after a pause, then the next target is asked, and a provider whose circuit is open is passed over.
When nothing is left the client gets the first failure as it was: the provider's own status,
retry-after and body, or an error of ours when there was no answer.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from hotpath.proxy.policy import Plan, Target
from hotpath.proxy.providers.retrying import TRY_AGAIN, pause_before
from hotpath.proxy.upstream import Upstream, UpstreamResponse
from ibex.circuit import AWAY, Circuit, State
from ibex.errors import (
    ProviderAddressError,
    ProviderPausedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    UnknownProviderError,
)
from ibex.metrics import counter
from ibex.providers import Provider
from ibex.retry_after import asked_pause
from ibex.settings import Settings

_TRIES: Final = counter(
    "ibex_proxy_provider_tries_total",
    "Tries at a provider (first, retry, fallback), and what came of them: answered, failed (429,"
    " 500, 502, 503, 504), unavailable, timeout, abandoned (by the client), paused (not sent).",
    ("provider", "kind", "result"),
)

_LASTING: Final = (ProviderPausedError, ProviderAddressError, UnknownProviderError)
Failure = UpstreamResponse | ProviderUnavailableError


@dataclass(frozen=True)
class Call:
    method: str
    path: str  # below the provider's /v1
    headers: Mapping[str, str] = field(repr=False)  # the client's, by lower-case name
    body: Callable[[str | None], bytes] | None = None  # for a target's model; None: it has none
    tried: Callable[[], None] = lambda: None  # told of each try that is sent


class Providers:
    def __init__(
        self,
        providers: Mapping[str, Provider],
        settings: Settings,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` gives numbers in [0, 1) that spread the pauses."""
        self._upstreams = {name: Upstream(one, settings) for name, one in providers.items()}
        self._circuits = {
            name: Circuit(settings.provider_circuit_failures, settings.provider_circuit_pause)
            for name in providers
        }
        self._chance = chance
        self.hosts = {
            name: urlsplit(one.base_url).hostname or "" for name, one in providers.items()
        }

    async def close(self) -> None:
        async with AsyncExitStack() as stack:
            for upstream in self._upstreams.values():
                stack.push_async_callback(upstream.close)

    def serving(self) -> Mapping[str, bool]:
        """By name: whether it is asked, or left alone because it failed too often."""
        return {name: state is not State.OPEN for name, state in self.states().items()}

    def states(self) -> Mapping[str, State]:
        """Of the circuits, by the provider's name."""
        return {name: circuit.state for name, circuit in self._circuits.items()}

    @asynccontextmanager
    async def open(self, plan: Plan, call: Call) -> AsyncIterator[UpstreamResponse]:
        """The answer, begun: a stream's first bytes or the whole of anything else are there.
        Leaving the block early hangs up. Raises ProviderUnavailableError."""
        response = await self._ask(plan, call)
        try:
            yield response
        finally:
            response.close()

    async def _ask(self, plan: Plan, call: Call) -> UpstreamResponse:
        first: Failure | None = None
        for number, target in enumerate(plan.targets):
            for attempt in range(plan.retries + 1):
                kind = "retry" if attempt else "fallback" if number else "first"
                outcome = await self._try(target, plan, call, kind)
                if isinstance(outcome, UpstreamResponse) and outcome.status not in TRY_AGAIN:
                    return outcome
                if first is None or isinstance(first, ProviderPausedError):
                    first = outcome
                pause = self._pause(attempt, outcome)
                if pause is None or attempt == plan.retries:
                    break
                await asyncio.sleep(pause)
        if isinstance(first, UpstreamResponse):
            return first
        raise first or ProviderUnavailableError

    async def _try(self, target: Target, plan: Plan, call: Call, kind: str) -> Failure:
        """A response of any status, or why there is none."""
        upstream, circuit = (
            self._upstreams.get(target.provider),
            self._circuits.get(target.provider),
        )
        if upstream is None or circuit is None:
            return UnknownProviderError()
        if not circuit.admit():
            _TRIES.labels(target.provider, kind, "paused").inc()
            return ProviderPausedError(circuit.left)
        call.tried()
        result = "abandoned"
        try:
            outcome = await self._send(upstream, circuit, target, plan, call)
            result = _result(outcome)
            return outcome
        finally:
            _TRIES.labels(target.provider, kind, result).inc()

    @staticmethod
    async def _send(
        upstream: Upstream, circuit: Circuit, target: Target, plan: Plan, call: Call
    ) -> Failure:
        body = None if call.body is None else call.body(target.model)
        try:
            async with asyncio.timeout(plan.first_byte_timeout):
                response = await upstream.send(call.method, call.path, body, call.headers, plan.key)
        except ProviderAddressError as error:
            circuit.undecided()
            return error
        except ProviderUnavailableError as error:
            circuit.failed()
            return error
        except TimeoutError:
            circuit.failed()
            return ProviderTimeoutError()
        except BaseException:
            circuit.undecided()
            raise
        if response.status in AWAY:
            circuit.failed()
        else:
            circuit.succeeded()
        response.provider, response.model = target.provider, target.model
        return response

    def _pause(self, attempt: int, failure: Failure) -> float | None:
        if isinstance(failure, _LASTING):
            return None
        asked = None
        if isinstance(failure, UpstreamResponse):
            asked = asked_pause(failure.headers, datetime.now(UTC))
        return pause_before(attempt, asked, self._chance())


def _result(outcome: Failure) -> str:
    if isinstance(outcome, UpstreamResponse):
        return "failed" if outcome.status in TRY_AGAIN else "answered"
    return "timeout" if isinstance(outcome, ProviderTimeoutError) else "unavailable"
