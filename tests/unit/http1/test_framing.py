"""Where an answer ends, and what is none: RFC 9112, in whatever pieces it arrives."""

import asyncio
from typing import Any

import pytest

from ibex.http1.wire import (
    Connection,
    SilenceError,
    WireError,
    is_value,
    request_head,
)


class _Socket:
    def fileno(self) -> int:
        return 0

    def setsockopt(self, *_: Any) -> None:
        pass


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"socket": _Socket()})
        self.written = b""
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


async def answer(
    *data: bytes, ends: bool = False
) -> tuple[int, list[tuple[bytes, bytes]], bytes, bool]:
    """Status, headers, body, and whether the connection could be used again."""
    connection, transport = Connection(5.0, lambda _: None), _Transport()
    connection.connection_made(transport)
    sending = asyncio.create_task(connection.send(b"GET / HTTP/1.1\r\n\r\n", b""))
    await asyncio.sleep(0)
    for one in data:
        connection.data_received(one)
    if ends:
        connection.connection_lost(None)
    head = await sending
    body = b""
    while (part := await connection.read()) is not None:
        body += part
    reusable = connection.reusable
    if not ends:
        connection.connection_lost(None)
    return head.status, head.headers, body, reusable


WHOLE = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: 1\r\n\r\nhello", b"hello", True),
    "nothing": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"", True),
    "chunks": (
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
            b"3\r\nhel\r\n2;note=x\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n"
        ),
        b"hello",
        True,
    ),
    "said to close": (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"hello",
        False,
    ),
    "an old server": (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello", False),
    "an old server that stays": (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "go on": (
        (
            b"HTTP/1.1 100 Continue\r\nx-early: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nx: 2\r\n\r\n"
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
        ),
        b"hello",
        True,
    ),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
    "an error": (b"HTTP/1.1 429 Too\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_an_answer_is_the_same_in_whatever_pieces_it_arrives(name: str) -> None:
    data, body, reusable = WHOLE[name]
    once = await answer(data)
    assert once[2:] == (body, reusable)
    assert b"x-early" not in dict(once[1])
    assert b"x-trailer" not in dict(once[1])
    for cut in range(1, len(data)):
        assert await answer(data[:cut], data[cut:]) == once, cut
    assert await answer(*(data[at : at + 1] for at in range(len(data)))) == once


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    data = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: x\n\n"
    for cut in range(1, len(data)):
        status, _, body, reusable = await answer(data[:cut], data[cut:], ends=True)
        assert (status, body, reusable) == (200, b"data: x\n\n", False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_what_ends_too_early_is_an_error(data: bytes) -> None:
    with pytest.raises(WireError):
        await answer(data, ends=True)


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"<html>\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 99 X\r\n\r\n",
        b"HTTP/1.1 600 X\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\r\n folded\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ],
)
async def test_what_is_no_answer_ends_the_connection(data: bytes) -> None:
    with pytest.raises(WireError) as raised:
        await answer(data)
    assert not isinstance(raised.value, SilenceError)


ENDLESS = {
    "head": (b"HTTP/1.1 200 OK\r\nx: ", b"a" * 1000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x: 1\r\n" * 100),
    "informational": (b"", b"HTTP/1.1 103 Early Hints\r\nx: 1\r\n\r\n" * 10),
    "trailers": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
        b"x: 1\r\n" * 100,
    ),
    "extension": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", b"a" * 1000),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_headers_without_an_end_are_given_up(name: str) -> None:
    begin, more = ENDLESS[name]
    with pytest.raises(WireError):
        await answer(begin, *[more] * 200)


async def test_large_heads_and_small_chunks_are_none_of_those() -> None:
    many = b"".join(b"x-%d: %s\r\n" % (n, b"v" * 400) for n in range(100))
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n" + many + b"\r\nx"
    _, headers, body, _ = await answer(data[:20_000], data[20_000:])
    assert (len(headers), body) == (101, b"x")
    begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    *_, body, reusable = await answer(begin, *[b"1\r\na\r\n"] * 50_000, b"0\r\n\r\n")
    assert (body, reusable) == (b"a" * 50_000, True)


@pytest.mark.parametrize("more", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x"])
async def test_a_connection_that_says_more_than_its_answer_is_not_used_again(more: bytes) -> None:
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    assert (await answer(data + more))[2:] == (b"hello", False)
    assert (await answer(data, more))[2:] == (b"hello", False)


async def test_names_are_lower_and_values_stay_bytes() -> None:
    data = (
        b"HTTP/1.1 200 OK\r\nX-A: \xff\xfe\r\nX-Empty:\r\nX-A:  b \t\r\nContent-Length: 0\r\n\r\n"
    )
    _, headers, _, _ = await answer(data)
    assert headers == [
        (b"x-a", b"\xff\xfe"),
        (b"x-empty", b""),
        (b"x-a", b"b"),
        (b"content-length", b"0"),
    ]


def test_a_request_is_these_headers_and_no_others() -> None:
    assert request_head("GET", "/v1/models?x=1", {"host": "a", "x": ""}) == (
        b"GET /v1/models?x=1 HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n"
    )
    for target in ("", "/a b", "/a\r\nx: 1", "/a\nx", "/é", "/a\x00", "/a\t"):
        with pytest.raises(ValueError, match="target"):
            request_head("GET", target, {})
    for name, value in (
        ("x\r\ny", "1"),
        ("x:", "1"),
        ("", "1"),
        ("x y", "1"),
        ("é", "1"),
        ("x", "a\r\ny: 1"),
        ("x", "a\n"),
        ("x", "a\r"),
        ("x", "a\x00"),
        ("x", "\x7f"),
        ("x", "é"),
    ):
        with pytest.raises(ValueError, match="header"):
            request_head("GET", "/", {name: value})
        assert name != "x" or not is_value(value)
