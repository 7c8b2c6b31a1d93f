"""One HTTP exchange on its way through the chain: what came in, what goes out, how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from hotpath.proxy.request_id import new_request_id
from ibex.asgi import Headers, Receive, Scope, Send

if TYPE_CHECKING:
    from hotpath.proxy.limits import Admission
    from hotpath.proxy.spans import RequestSpans


@dataclass
class Facts:
    """What the trace says about the request besides times; each stage adds what it knows."""

    org_id: UUID | None = None
    token_id: UUID | None = None
    agent_id: UUID | None = None
    session_id: UUID | None = None
    has_user: bool = False
    model: str = ""
    stream: bool = False
    complete: bool = False
    memories: int = 0
    context_tokens: int = 0
    fallback: str = ""
    degraded: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    answer_bytes: int = 0  # of an answer whose completion_tokens the provider does not say
    provider: str = ""  # by its name in the settings; empty until one has answered
    tries: int = 0  # at providers, whether they answered or not
    response_model: str | None = None
    finish_reason: str | None = None
    error: str = ""


@dataclass
class Exchange:
    scope: Scope
    receive: Receive
    raw_send: Send
    request_id: str = field(default_factory=new_request_id)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    facts: Facts = field(default_factory=Facts)
    milliseconds: dict[str, float] = field(default_factory=dict)
    ttfb: float | None = None  # milliseconds until the first byte of the body
    status: int | None = None  # once the response has started
    admission: "Admission | None" = None  # past the rate limits, not settled yet
    route: str = "other"  # the template of the path
    spans: "RequestSpans | None" = None  # when somebody traces
    _began: float = field(default_factory=time.perf_counter)
    _headers_out: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The first of several headers of a name counts.
        self.headers = {
            name.decode("latin-1"): _text(value) for name, value in reversed(self.scope["headers"])
        }

    @property
    def elapsed(self) -> float:
        """Milliseconds since the request began."""
        return (time.perf_counter() - self._began) * 1000

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        if self.spans is not None:
            self.spans.enter(stage)
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - began) * 1000
            self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + spent
            if self.spans is not None:
                self.spans.leave(stage)

    def calling(self, operation: str) -> None:
        """The model's server is asked from now on: `chat`, `embeddings`, `text_completion`."""
        if self.spans is not None:
            self.spans.call(operation)

    def set_header(self, name: bytes, value: str) -> None:
        """Add a header to whatever response this exchange ends with."""
        self._headers_out[name] = value.encode()

    def tried(self) -> None:
        """A provider is asked, for the first time or again."""
        self.facts.tries += 1

    def answered_by(self, provider: str, model: str | None) -> None:
        """Which provider of the settings answered, and as which model."""
        self.facts.provider = provider
        self.set_header(b"x-ibex-provider", provider)
        self.facts.model = model or self.facts.model

    async def start(self, status: int, headers: Headers, *, final: bool) -> None:
        """Send the head. `final`: the body is known, so the total time is."""
        self.status = status
        timings = dict(self.milliseconds)
        timings["total" if final else "ttfb"] = self.elapsed
        timing = ", ".join(f"{name};dur={spent:.1f}" for name, spent in timings.items())
        own = {
            **self._headers_out,
            b"x-request-id": self.request_id.encode(),
            b"server-timing": timing.encode(),
        }
        await self.raw_send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*(one for one in headers if one[0] not in own), *own.items()],
            }
        )

    async def send(self, body: bytes, *, more: bool) -> None:
        if self.ttfb is None:
            self.ttfb = self.elapsed
        await self.raw_send({"type": "http.response.body", "body": body, "more_body": more})


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
