"""Connections are used again when they can be, and closed at once when nobody waits any more."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ibex.http1 import pool as pool_module
from ibex.http1.pool import Origin, Pool, Response
from ibex.http1.wire import SilenceError, UnreachedError, WireError
from tests.peer import (
    CHUNKED,
    PLAIN,
    Peer,
    Visit,
    answers,
    ask,
    body_of,
    pool_to,
    post,
    says,
    says_and_closes,
    takes_nothing,
)

LONG = 10.0  # seconds, for what happens at once or never
MANY = 300


# --- used again ---


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with Peer(answers(PLAIN)).serving() as peer, pool_to(peer.port) as pool:
        for number in range(5):
            assert await ask(pool, b"%d" % number) == (200, b"ok")
        response = await pool.request("GET", "/v1/models?x=1", {"accept": "*/*"}, None)
        assert await body_of(response) == b"ok"
    (visit,) = peer.visits
    assert visit.requests[:2] == [
        b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:%d\r\naccept: */*\r\ncontent-length: 1\r\n\r\n%d"
        % (peer.port, number)
        for number in range(2)
    ]
    assert visit.requests[-1].startswith(b"GET /v1/models?x=1 HTTP/1.1\r\n")
    assert b"content-length" not in visit.requests[-1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        PLAIN + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
        PLAIN + b"H",
    ],
)
async def test_a_connection_that_ends_or_says_too_much_serves_one(answer: bytes) -> None:
    async with Peer(answers(answer)).serving() as peer, pool_to(peer.port) as pool:
        for _ in range(3):
            assert await ask(pool) == (200, b"ok")
        assert [len(one.requests) for one in peer.visits] == [1, 1, 1]


async def test_what_a_server_says_unasked_is_nobodys_answer() -> None:
    said = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(PLAIN)
        await asyncio.sleep(0.02)
        await visit.say(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")
        said.set()
        await visit.until_gone()

    async with Peer(script).serving() as peer, pool_to(peer.port) as pool:
        for _ in range(2):
            assert await ask(pool) == (200, b"ok")
            await said.wait()
            said.clear()
        async with asyncio.timeout(LONG):
            await peer.visits[0].gone.wait()


async def test_a_connection_that_was_closed_meanwhile_costs_no_request() -> None:
    async with Peer(says_and_closes(PLAIN)).serving() as peer, pool_to(peer.port) as pool:
        for _ in range(5):
            assert await ask(pool) == (200, b"ok")
            await asyncio.sleep(0.02)
        assert len(peer.requests) == 5


async def test_a_close_that_the_loop_has_not_seen_yet_is_seen_before_anything_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve_once() -> socket.socket:
            taken, _ = server.accept()
            taken.recv(65536)
            taken.sendall(PLAIN)
            return taken

        async with pool_to(port) as pool:
            serving = asyncio.create_task(asyncio.to_thread(serve_once))
            assert await ask(pool) == (200, b"ok")
            taken = await serving
            # From here to the next request the event loop does not run.
            taken.shutdown(socket.SHUT_WR)
            again = asyncio.to_thread(serve_once)
            asking = pool.request("POST", "/v1/x", {}, b"again")
            response, second = await asyncio.gather(asking, again)
            assert await body_of(response) == b"ok"
            taken.setblocking(True)
            assert taken.recv(65536) == b""  # nothing of the second request
            taken.close()
            second.close()


@pytest.mark.parametrize("first", [True, False])
async def test_a_request_that_may_have_been_read_is_not_sent_again(first: bool) -> None:
    async def script(visit: Visit) -> None:
        if not first:
            await visit.request()
            await visit.say(PLAIN)
        await visit.request()

    async with Peer(script).serving() as peer, pool_to(peer.port) as pool:
        if not first:
            assert await ask(pool) == (200, b"ok")
        with pytest.raises(WireError) as raised:
            await ask(pool, b"paid for")
        assert not isinstance(raised.value, UnreachedError)
        assert len([one for one in peer.requests if b"paid for" in one]) == 1


async def test_many_at_once_have_a_connection_each_and_leave_none_behind() -> None:
    async with Peer(answers(PLAIN)).serving() as peer:
        async with pool_to(peer.port) as pool:
            replies = await asyncio.gather(*(ask(pool) for _ in range(MANY)))
            assert replies == [(200, b"ok")] * MANY
            assert len(peer.visits) == len(pool._idle) == MANY
        async with asyncio.timeout(LONG):
            while peer._tasks:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)


async def test_a_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_KEPT", 0.1)

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(PLAIN)
        await visit.until_gone()

    async with Peer(script).serving() as peer, pool_to(peer.port) as pool:
        await asyncio.gather(ask(pool), ask(pool))
        async with asyncio.timeout(LONG):
            for visit in peer.visits:
                await visit.gone.wait()
        assert pool._idle == {}
        assert pool._sweep is None


async def test_a_pool_that_is_closed_lets_what_has_begun_end() -> None:
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(CHUNKED + b"1\r\na\r\n")
        await go_on.wait()
        await visit.say(b"1\r\nb\r\n0\r\n\r\n")
        await visit.until_gone()

    async with Peer(script).serving() as peer, pool_to(peer.port) as pool:
        response = await post(pool)
        assert await response.read() == b"a"
        await pool.close()
        go_on.set()
        assert await body_of(response) == b"b"
        async with asyncio.timeout(LONG):
            await peer.visits[0].gone.wait()
        assert pool._idle == {}


# --- given up ---


async def _floods(visit: Visit) -> None:
    await visit.request()
    await visit.say(CHUNKED)
    try:
        while True:
            await visit.say(b"10000\r\n" + bytes(0x10000) + b"\r\n")
    except ConnectionError:
        visit.gone.set()


GIVEN_UP: dict[str, tuple[Callable[[Visit], Awaitable[None]], int]] = {
    "while the request is taken": (takes_nothing, 64 * 2**20),
    "before the head": (says(b""), 2),
    "in the head": (says(b"HTTP/1.1 200 OK\r\nx: "), 2),
    "before the body": (says(CHUNKED), 2),
    "in the body": (says(CHUNKED + b"5\r\nhello\r\n"), 2),
    "between the body and its end": (says(CHUNKED + b"5\r\nhello\r\n0\r\n"), 2),
    "in a flood": (_floods, 2),
}


@pytest.mark.parametrize("phase", GIVEN_UP)
async def test_whoever_stops_waiting_closes_the_connection_at_once(phase: str) -> None:
    script, size = GIVEN_UP[phase]
    async with Peer(script).serving() as peer, pool_to(peer.port) as pool:
        begun = asyncio.Event()

        async def asks() -> None:
            response = await post(pool, bytes(size))
            try:
                while await response.read() is not None:
                    begun.set()
            finally:
                response.close()

        asking = asyncio.create_task(asks())
        async with asyncio.timeout(LONG):
            while not peer.visits:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)
            if script is _floods:
                await begun.wait()
            await asyncio.sleep(0.05)
        assert not asking.done()
        assert not peer.visits[0].gone.is_set()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(LONG):
            await peer.visits[0].gone.wait()
        assert asking.cancelled()
        assert pool._idle == {}


@pytest.mark.parametrize("tls", [False, True])
async def test_who_stops_waiting_for_a_connection_leaves_none(
    tls: bool,
) -> None:
    """With TLS the server takes the connection and says nothing."""
    async with Peer(lambda visit: visit.until_gone()).serving() as peer:
        context = ssl.create_default_context() if tls else None
        async with pool_to(peer.port, host="model.test", tls=context) as pool:
            asking = asyncio.create_task(ask(pool))
            if tls:
                async with asyncio.timeout(LONG):
                    while not peer.visits:  # noqa: ASYNC110  nobody tells
                        await asyncio.sleep(0.01)
            else:
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert asking.cancelled()
        await asyncio.sleep(0.05)  # it may have been taken since
        async with asyncio.timeout(LONG):
            for visit in peer.visits:
                await visit.gone.wait()


async def test_an_answer_that_is_not_read_to_its_end_is_hung_up_on() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        await visit.say(b"o")
        await visit.until_gone()

    async with Peer(script).serving() as peer, pool_to(peer.port) as pool:
        for reads in (0, 1):
            response = await post(pool)
            for _ in range(reads):
                assert await response.read() == b"o"
            response.close()
            response.close()
            assert await response.read() is None
            async with asyncio.timeout(LONG):
                await peer.visits[-1].gone.wait()
        assert len(peer.visits) == 2


async def test_an_answer_before_the_request_is_whole_counts_and_ends_the_connection() -> None:
    async def script(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        await visit.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await asyncio.sleep(0.05)
        await visit.until_gone()

    async with Peer(script).serving() as peer, pool_to(peer.port) as pool:
        assert await ask(pool, bytes(64 * 2**20)) == (413, b"no")
        async with asyncio.timeout(LONG):
            await peer.visits[0].gone.wait()
        assert pool._idle == {}


# --- silence ---


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nx: ", CHUNKED, CHUNKED + b"5\r\nhello\r\n"]
)
async def test_silence_is_limited(said: bytes) -> None:
    async with Peer(says(said)).serving() as peer, pool_to(peer.port, idle_timeout=0.2) as pool:
        with pytest.raises(SilenceError):
            async with asyncio.timeout(LONG):
                await ask(pool)
        async with asyncio.timeout(LONG):
            await peer.visits[0].gone.wait()


async def test_a_server_thattakes_nothing_is_silent() -> None:
    async with (
        Peer(lambda visit: asyncio.sleep(60)).serving() as peer,
        pool_to(peer.port, idle_timeout=0.2) as pool,
    ):
        with pytest.raises(SilenceError):
            async with asyncio.timeout(LONG):
                await ask(pool, bytes(64 * 2**20))


async def test_an_answer_may_take_as_long_as_it_keeps_coming() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        for at in range(len(data)):
            await visit.say(data[at : at + 1])
            await asyncio.sleep(0.05)

    data = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nlong live"
    async with Peer(script).serving() as peer, pool_to(peer.port, idle_timeout=1.0) as pool:
        assert await ask(pool) == (200, b"long live")


async def test_whoever_takes_long_to_read_hears_no_silence() -> None:
    async with Peer(answers(PLAIN)).serving() as peer, pool_to(peer.port, idle_timeout=0.1) as pool:
        for _ in range(2):
            response = await post(pool)
            await asyncio.sleep(0.3)
            assert await body_of(response) == b"ok"
        assert len(peer.visits) == 1


# --- much ---


@pytest.mark.parametrize("slow", [False, True])
async def test_no_more_is_read_ahead_than_is_taken(slow: bool) -> None:
    body = bytes(range(256)) * 2**16  # 16 MiB

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        await visit.say(body)

    async with Peer(script).serving() as peer, pool_to(peer.port) as pool:
        response = await post(pool)
        connection = response._connection
        assert connection is not None
        got, most = [], 0
        await asyncio.sleep(0.1)
        while (part := await response.read()) is not None:
            got.append(part)
            most = max(most, len(part))
            if slow:
                await asyncio.sleep(0.001)
        assert b"".join(got) == body
        assert most < 2**20
        response.close()


async def test_a_large_request_arrives_whole() -> None:
    body = bytes(range(256)) * 2**16
    async with Peer(answers(PLAIN)).serving() as peer, pool_to(peer.port) as pool:
        for _ in range(2):
            assert await ask(pool, body) == (200, b"ok")
    (visit,) = peer.visits
    assert [one.partition(b"\r\n\r\n")[2] == body for one in visit.requests] == [True, True]


# --- not reached ---


async def test_nobody_there_is_unreached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    async with pool_to(port) as pool:
        with pytest.raises(UnreachedError):
            await ask(pool)


async def test_a_connection_that_takes_too_long_is_unreached() -> None:
    async with (
        Peer(lambda visit: visit.until_gone()).serving() as peer,
        pool_to(
            peer.port, host="model.test", tls=ssl.create_default_context(), connect_timeout=0.2
        ) as pool,
    ):
        with pytest.raises(UnreachedError):
            await ask(pool)
        async with asyncio.timeout(LONG):
            await peer.visits[0].gone.wait()


@pytest.mark.parametrize(
    ("host", "port", "tls", "authority"),
    [
        ("model.test", 80, False, "model.test"),
        ("model.test", 443, True, "model.test"),
        ("model.test", 443, False, "model.test:443"),
        ("model.test", 8443, True, "model.test:8443"),
        ("::1", 80, False, "[::1]"),
        ("::1", 8000, False, "[::1]:8000"),
        ("müller.test", 80, False, "xn--mller-kva.test"),
    ],
)
def test_the_host_header(host: str, port: int, tls: bool, authority: str) -> None:
    context: Any = object() if tls else None
    assert Origin(host, port, context).authority == authority


async def test_nothing_waits_for_a_limit_of_the_pool() -> None:
    release = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(CHUNKED + b"1\r\na\r\n")
        await release.wait()
        await visit.say(b"0\r\n\r\n")
        await visit.until_gone()

    async with Peer(script).serving() as peer, pool_to(peer.port) as pool:
        open_ones: list[Response] = await asyncio.gather(*(post(pool) for _ in range(MANY)))
        assert {await one.read() for one in open_ones} == {b"a"}
        release.set()
        assert {await body_of(one) for one in open_ones} == {b""}
        assert isinstance(pool, Pool)
