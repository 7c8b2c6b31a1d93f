"""The wire format of chat completions, whole and as server-sent events.

Source: https://platform.openai.com/docs/api-reference/chat
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ibex.sandbox.language import token_count

MODEL_NAME: Final = "ibex-sandbox"
DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Reply:
    """What the model says, before it is put on the wire."""

    id: str
    text: str = field(repr=False)
    prompt_tokens: int
    finish_reason: str = "stop"

    @property
    def usage(self) -> dict[str, int]:
        completion = token_count(self.text)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }


def cut(text: str, limit: int | None) -> tuple[str, str]:
    """The text within `limit` tokens, and the finish reason."""
    words = re.findall(r"\S+\s*", text)
    used = 0
    for place, word in enumerate(words):
        used += token_count(word)
        if limit is not None and used > limit:
            return "".join(words[:place]).rstrip(), "length"
    return text, "stop"


def whole(reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reply.finish_reason,
    }
    return {**_head(reply, "chat.completion"), "choices": [choice], "usage": reply.usage}


def events(reply: Reply, *, include_usage: bool) -> Iterator[bytes]:
    """One event a word, then the reason it ended, the usage where asked for, and [DONE]."""
    yield _event(reply, {"role": "assistant", "content": ""}, None)
    for word in re.findall(r"\s*\S+|\s+$", reply.text):
        yield _event(reply, {"content": word}, None)
    yield _event(reply, {}, reply.finish_reason)
    if include_usage:
        head = _head(reply, "chat.completion.chunk")
        yield _data({**head, "choices": [], "usage": reply.usage})
    yield DONE


def _event(reply: Reply, delta: dict[str, Any], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _data({**_head(reply, "chat.completion.chunk"), "choices": [choice]})


def _head(reply: Reply, kind: str) -> dict[str, Any]:
    return {
        "id": reply.id,
        "object": kind,
        "created": int(time.time()),
        "model": MODEL_NAME,
        "system_fingerprint": MODEL_NAME,
    }


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
