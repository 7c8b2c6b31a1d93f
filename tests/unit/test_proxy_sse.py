"""The stream is understood wherever the network cuts it."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath.proxy.answers import Answer, read_completion
from hotpath.proxy.sse import SseReader


def event(delta: dict[str, Any], finish: str | None = None, **extra: Any) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **extra}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


TEXT = (
    b": keep-alive\n\n"
    + event({"role": "assistant", "content": ""})
    + event({"content": "Grüße, "})
    + b"event: noise\nid: 7\ndata: not json\n\n"
    + event({"content": "世界 🦌"}).replace(b"\n", b"\r\n")
    + event({}, "stop")
    + b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}\n\n'
    + b"data: [DONE]\n\n"
)
SAID = Answer({"role": "assistant", "content": "Grüße, 世界 🦌"}, "stop", 9, 3)

TOOLS = (
    event({"role": "assistant", "content": None, "tool_calls": [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "find", "arguments": ""}}
    ]})
    + event({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]})
    + event({"tool_calls": [
        {"index": 1, "id": "c2", "type": "function", "function": {"name": "go", "arguments": "{}"}}
    ]})
    + event({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]})
    + event({}, "tool_calls")
    + b"data: [DONE]\n\n"
)  # fmt: skip
CALLED = Answer(
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "find", "arguments": '{"a": 1}'},
            },
            {"id": "c2", "type": "function", "function": {"name": "go", "arguments": "{}"}},
        ],
    },
    "tool_calls",
)


@pytest.mark.parametrize(("stream", "answer"), [(TEXT, SAID), (TOOLS, CALLED)])
def test_a_stream_cut_in_two_at_every_byte_says_the_same(stream: bytes, answer: Answer) -> None:
    for place in range(len(stream) + 1):
        reader = SseReader()
        reader.feed(stream[:place])
        reader.feed(stream[place:])
        assert reader.answer() == answer
        assert reader.done


@given(st.lists(st.integers(0, len(TEXT)), max_size=20).map(sorted))
def test_a_stream_cut_into_pieces_says_the_same(cuts: list[int]) -> None:
    reader = SseReader()
    for start, end in zip([0, *cuts], [*cuts, len(TEXT)], strict=True):
        reader.feed(TEXT[start:end])
    assert reader.answer() == SAID


def test_done_is_known_with_its_line_and_not_before() -> None:
    reader = SseReader()
    head, _, tail = TEXT.partition(b"data: [DONE]\n\n")
    assert tail == b""
    reader.feed(head + b"data: [DONE]")
    assert not reader.done
    reader.feed(b"\n")
    assert reader.done


def test_a_stream_that_breaks_off_is_read_as_far_as_it_got() -> None:
    reader = SseReader()
    reader.feed(event({"content": "Hal"}) + b'data: {"choi')
    assert reader.answer() == Answer({"role": "assistant", "content": "Hal"})
    assert (reader.done, reader.finished) == (False, False)
    assert SseReader().answer() == Answer()


def test_a_line_that_is_too_long_is_skipped_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotpath.proxy.sse._LONGEST_LINE", 200)
    reader = SseReader()
    for chunk in (b"data: " + b"x" * 150, b"y" * 150, b"z" * 10):
        reader.feed(chunk)
        assert len(reader._line) <= 200
    reader.feed(b"\n\n" + event({"content": "on"}, "stop"))
    assert reader.answer().message == {"role": "assistant", "content": "on"}


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"1",
        b'{"choices": {}}',
        b'{"choices": [1, {"index": 1, "delta": {"content": "other"}}]}',
        b'{"choices": [{"delta": {"content": 5, "role": 5, "tool_calls": [1, {"index": "x"}]}}]}',
        b'{"choices": [{"delta": [], "finish_reason": {}}], "usage": [1]}',
        b'{"usage": {"prompt_tokens": "many", "completion_tokens": -1}}',
    ],
)
def test_what_is_not_a_completion_is_no_answer(data: bytes) -> None:
    reader = SseReader()
    reader.feed(b"data: " + data + b"\n\n")
    assert reader.answer() == Answer()
    assert read_completion(data) == Answer()


def test_a_whole_completion_is_read() -> None:
    message = {"role": "assistant", "content": "Yes", "refusal": None}
    body = {
        "choices": [
            {"index": 1, "message": {"role": "assistant", "content": "No"}},
            {"index": 0, "message": message, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1},
    }
    assert read_completion(orjson.dumps(body)) == Answer(message, "stop", 5, 1)
    assert read_completion(b"<html>") == Answer()
