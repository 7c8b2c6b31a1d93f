"""An OpenAI-compatible server that stands in for a model, for demos and tests, and says so.

`POST /v1/chat/completions`, `GET /v1/models`; `GET` and `DELETE /v1/sandbox/requests` show and
forget the newest requests, to callers on the same machine only.

It accepts every model name. Some make it misbehave, so that callers can be tested:
    sandbox-error-500   answers 500
    sandbox-429         answers 429 with retry-after: 1
    sandbox-slow        is silent for x-sandbox-delay-ms (1000) before the first byte;
                        sandbox-slow-250 for 250 ms, where headers do not reach it
    sandbox-garbage     answers a request for JSON of a schema with text that is not JSON
    sandbox-garbage-once  the same, until it is told that this cannot be used
    sandbox-no-schema   refuses response_format json_schema with 400, as older servers do
    sandbox-no-format   answers 404 to any response_format
    sandbox-window-900  refuses more than 900 tokens with 400, as small models do
    sandbox-cut         breaks the connection in the middle of the answer
"""

import asyncio
import itertools
from collections import deque
from typing import Any, Final

import orjson

from ibex.asgi import Receive, Scope, Send, Service, header, read_object, send_json
from ibex.errors import IbexError, InvalidRequestError, NotFoundError, PermissionDeniedError
from ibex.extraction.form import AnswerForm
from ibex.extraction.judging import VERDICT
from ibex.extraction.schema import MEMORIES
from ibex.ids import new_id
from ibex.sandbox.answering import answer, text_of
from ibex.sandbox.completion import MODEL_NAME, Reply, cut, events, whole
from ibex.sandbox.judging import verdict
from ibex.sandbox.language import token_count
from ibex.sandbox.remembering import remember
from ibex.settings import Settings

REMEMBERED_REQUESTS: Final = 200
_MAX_DELAY: Final = 600_000  # milliseconds
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
_FORMS: Final = ((MEMORIES, remember), (VERDICT, verdict))
_ASKED_ONCE: Final = 2  # messages of a request for JSON
_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


class OrderedError(IbexError):
    """The request's model name asked for this error."""

    code = "sandbox_error"
    hint = ""


class OrderedRateLimitError(OrderedError):
    """The request's model name asked for a rate limit."""

    code = "rate_limit_exceeded"
    status = 429
    kind = "rate_limit_error"


class SandboxService(Service):
    def __init__(self, settings: Settings) -> None:
        super().__init__("sandbox")
        self._limit = settings.max_body_bytes
        self._requests: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_REQUESTS)
        self.handlers = {
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/models": {"GET": self._models},
            "/v1/sandbox/requests": {"GET": self._shown, "DELETE": self._forgotten},
            "/health": {"GET": self._health},
            "/ready": {"GET": self._ready},
        }

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_object(scope, receive, self._limit)
        self._requests.append(body)
        check(body)
        await _misbehave(body["model"], body, scope)
        reply = reply_to(body)
        if body["model"] == "sandbox-cut":
            await _send_cut(send, reply, stream=bool(body.get("stream")))
        elif body.get("stream"):
            options = body.get("stream_options") or {}
            await _send_stream(send, reply, include_usage=bool(options.get("include_usage")))
        else:
            await send_json(send, 200, whole(reply))

    async def _models(self, scope: Scope, receive: Receive, send: Send) -> None:
        model = {"id": MODEL_NAME, "object": "model", "created": 0, "owned_by": "ibex"}
        await send_json(send, 200, {"object": "list", "data": [model]})

    async def _shown(self, scope: Scope, receive: Receive, send: Send) -> None:
        _only_local(scope)
        await send_json(send, 200, {"requests": list(self._requests)})

    async def _forgotten(self, scope: Scope, receive: Receive, send: Send) -> None:
        _only_local(scope)
        self._requests.clear()
        await send_json(send, 200, {"requests": []})

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, {"status": "ok"})

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, {"ready": True, "checks": {}})


def check(body: dict[str, Any]) -> None:
    """Raises InvalidRequestError where OpenAI would answer 400 as well."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise InvalidRequestError("'model' must be the name of a model.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError("'messages' must be a list that is not empty.")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequestError(f"Message {place} is not an object with a role.")


def reply_to(body: dict[str, Any]) -> Reply:
    """The same body, but for its id, always gets the same reply."""
    messages = body["messages"]
    prompt = [text_of(message.get("content")) for message in messages]
    answer_in = next((one for form, one in _FORMS if _asks_for(form, body, prompt)), None)
    babbles = body["model"] == "sandbox-garbage" or (
        body["model"] == "sandbox-garbage-once" and len(messages) <= _ASKED_ONCE
    )
    if answer_in is None:
        text = answer(messages)
    elif babbles:
        text = "I would rather talk about the weather {"
    else:
        text = answer_in(prompt[1])
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    text, finish_reason = cut(text, limit if isinstance(limit, int) else None)
    return Reply(f"chatcmpl-{new_id().hex}", text, sum(map(token_count, prompt)), finish_reason)


def _asks_for(form: AnswerForm, body: dict[str, Any], prompt: list[str]) -> bool:
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return bool(wanted.get("json_schema", {}).get("name") == form.name)
    return len(prompt) > 1 and form.instruction in prompt[0]


async def _misbehave(model: str, body: dict[str, Any], scope: Scope) -> None:
    if model == "sandbox-error-500":
        raise OrderedError
    if model == "sandbox-429":
        raise OrderedRateLimitError
    if model == "sandbox-no-schema":
        form = body.get("response_format") or {}
        if form.get("type") == "json_schema":
            raise InvalidRequestError("This model does not support response_format json_schema.")
    if model == "sandbox-no-format" and "response_format" in body:
        raise NotFoundError("There is no response_format here.", hint="")
    if model.startswith("sandbox-window-"):
        window = int(model.removeprefix("sandbox-window-"))
        prompt = sum(token_count(text_of(one.get("content"))) for one in body["messages"])
        if prompt > window:
            raise InvalidRequestError(
                f"This model's maximum context length is {window} tokens, of which the messages "
                f"take {prompt}.",
                hint="",
            )
    if model.startswith("sandbox-slow"):
        wanted = header(scope, b"x-sandbox-delay-ms") or model.removeprefix("sandbox-slow-")
        delay = int(wanted) if wanted.isdecimal() else 1000
        await asyncio.sleep(min(delay, _MAX_DELAY) / 1000)


async def _send_stream(send: Send, reply: Reply, *, include_usage: bool) -> None:
    await _start(send, _EVENT_STREAM)
    for event in events(reply, include_usage=include_usage):
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_cut(send: Send, reply: Reply, *, stream: bool) -> None:
    """Half of the answer; returning before its end makes the server close the connection."""
    if stream:
        parts = list(events(reply, include_usage=False))
        body = b"".join(itertools.islice(parts, max(2, len(parts) // 2)))
    else:
        content = orjson.dumps(whole(reply))
        body = content[: len(content) // 2]
    await _start(send, _EVENT_STREAM if stream else b"application/json")
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _start(send: Send, content_type: bytes) -> None:
    headers = [(b"content-type", content_type), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def _only_local(scope: Scope) -> None:
    client = scope.get("client")
    if client is None or client[0] not in _LOOPBACK:
        raise PermissionDeniedError("The requests are shown on the same machine only.", hint="")
