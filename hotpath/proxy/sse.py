"""Reads a chat completion from its stream of server-sent events, beside the bytes on their way.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from hotpath.proxy.answers import Answer, first_choice, short_text, token_counts

_LONGEST_LINE: Final = 8 * 2**20  # bytes; a longer line is not understood, but passed on


class SseReader:
    """Feed it the chunks as they come, cut anywhere."""

    def __init__(self) -> None:
        self.done = False  # `data: [DONE]` was seen
        self._line = bytearray()
        self._skipping = False  # the rest of a line that was too long
        self._data: list[bytes] = []
        self._role = "assistant"
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._tool_calls: dict[int, dict[str, Any]] = {}
        self._finish_reason: str | None = None
        self._tokens: tuple[int | None, int | None] = (None, None)
        self._model: str | None = None

    @property
    def finished(self) -> bool:
        """The model said why it stopped, so the message is whole."""
        return self._finish_reason is not None

    def feed(self, chunk: bytes) -> None:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._line += line
            if not self._skipping:
                self._take(bytes(self._line).removesuffix(b"\r"))
            self._line.clear()
            self._skipping = False
        self._line += rest
        if len(self._line) > _LONGEST_LINE:
            self._line.clear()
            self._skipping = True

    def answer(self) -> Answer:
        """As far as it was read."""
        prompt, completion = self._tokens
        return Answer(self._message(), self._finish_reason, prompt, completion, self._model)

    def _take(self, line: bytes) -> None:
        if not line:
            data, self._data = b"\n".join(self._data), []
            if data:
                self._event(data)
            return
        name, _, value = line.partition(b":")
        if name != b"data":
            return
        value = value.removeprefix(b" ")
        if value.strip() == b"[DONE]":
            # Known as soon as the line is: it must not go out before the turn is stored.
            self.done = True
        else:
            self._data.append(value)

    def _event(self, data: bytes) -> None:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        if not isinstance(value, Mapping):
            return
        if value.get("usage"):
            self._tokens = token_counts(value["usage"])
        self._model = self._model or short_text(value.get("model"))
        choice = first_choice(value)
        delta = choice.get("delta")
        if isinstance(delta, Mapping):
            self._add(delta)
        self._finish_reason = short_text(choice.get("finish_reason")) or self._finish_reason

    def _add(self, delta: Mapping[str, Any]) -> None:
        self._role = short_text(delta.get("role")) or self._role
        for name, texts in (("content", self._content), ("refusal", self._refusal)):
            if isinstance(delta.get(name), str):
                texts.append(delta[name])
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, Mapping) and isinstance(call.get("index", 0), int):
                _merge(self._tool_calls.setdefault(call.get("index", 0), {}), call)

    def _message(self) -> dict[str, Any] | None:
        content, refusal = "".join(self._content), "".join(self._refusal)
        if not (content or refusal or self._tool_calls):
            return None
        message: dict[str, Any] = {"role": self._role, "content": content or None}
        if refusal:
            message["refusal"] = refusal
        if self._tool_calls:
            message["tool_calls"] = [call for _, call in sorted(self._tool_calls.items())]
        return message


def _merge(call: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """The id, type and name of a call come once, its arguments in pieces."""
    for key, value in delta.items():
        if key == "function" and isinstance(value, Mapping):
            function = call.setdefault("function", {"name": "", "arguments": ""})
            for part in ("name", "arguments"):
                if isinstance(value.get(part), str):
                    function[part] += value[part]
        elif key != "index" and value is not None:
            call[key] = value
