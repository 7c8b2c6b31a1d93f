"""Frames over a real connection, from a real client or from bytes that no client would send."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import grpc
import pytest
from pydantic import ValidationError

from ibex.rpc import frames
from ibex.rpc.frames import CallFailedError, FrameClient, FrameServer, NotConnectedError
from ibex.settings import Settings
from tests.conftest import free_port

LIMIT = 10.0


class Service:
    """Answers with what it is asked, when it may."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.began: list[bytes] = []
        self.cancelled: list[bytes] = []
        self.metadata: Mapping[str, str] = {}

    async def __call__(self, metadata: Mapping[str, str], message: bytes) -> bytes:
        self.began.append(message)
        self.metadata = metadata
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(message)
            raise
        if message == b"break":
            raise ValueError("secret words")
        if message == b"refuse":
            raise CallFailedError(grpc.StatusCode.NOT_FOUND, "Nobody of that name.")
        return message[::-1]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.002)
    pytest.fail("it never came to that")


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def server(service: Service, port: int) -> AsyncIterator[FrameServer]:
    server = FrameServer(service)
    await server.start("127.0.0.1", port)
    yield server
    service.go.set()
    await server.stop(1.0)


@pytest.fixture
async def client(port: int) -> AsyncIterator[FrameClient]:
    client = FrameClient(f"127.0.0.1:{port}")
    yield client
    await client.close()


@pytest.mark.usefixtures("server")
async def test_calls_at_once_get_their_own_answers(client: FrameClient, service: Service) -> None:
    messages = [f"{number} {'x' * (number * 997)}".encode() for number in range(100)]
    answers = await asyncio.gather(*(client.call({}, one, LIMIT) for one in messages))
    assert answers == [one[::-1] for one in messages]
    assert await client.call({"traceparent": "00-ä"}, b"", LIMIT) == b""
    assert service.metadata == {"traceparent": "00-ä"}


@pytest.mark.usefixtures("server")
async def test_a_refusal_keeps_its_code_and_the_connection(client: FrameClient) -> None:
    with pytest.raises(CallFailedError) as refused:
        await client.call({}, b"refuse", LIMIT)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == "Nobody of that name."
    assert await client.call({}, b"ab", LIMIT) == b"ba"


@pytest.mark.usefixtures("server")
async def test_a_call_that_breaks_is_answered_and_logged_without_its_words(
    client: FrameClient, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CallFailedError) as broken:
        await client.call({}, b"break", LIMIT)
    assert broken.value.code() is grpc.StatusCode.INTERNAL
    assert "ValueError at __call__" in caplog.text
    assert "secret" not in caplog.text
    assert await client.call({}, b"ab", LIMIT) == b"ba"


@pytest.mark.usefixtures("server")
async def test_who_waits_no_longer_ends_the_work_and_no_other_call(
    client: FrameClient, service: Service
) -> None:
    service.go.clear()
    other = asyncio.create_task(client.call({}, b"ab", LIMIT))
    await until(lambda: service.began == [b"ab"])
    with pytest.raises(CallFailedError) as late:
        await client.call({}, b"late", 0.05)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    gone = asyncio.create_task(client.call({}, b"gone", LIMIT))
    await until(lambda: b"gone" in service.began)
    gone.cancel()
    await until(lambda: sorted(service.cancelled) == [b"gone", b"late"])
    service.go.set()
    assert await other == b"ba"


async def test_a_lost_connection_fails_its_calls_and_the_next_one_makes_another(
    client: FrameClient, service: Service, port: int
) -> None:
    first = FrameServer(service)
    await first.start("127.0.0.1", port)
    service.go.clear()
    waiting = asyncio.create_task(client.call({}, b"ab", LIMIT))
    await until(lambda: service.began == [b"ab"])
    await first.stop(0.05)
    with pytest.raises(CallFailedError) as lost:
        await waiting
    assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not isinstance(lost.value, NotConnectedError)
    with pytest.raises(NotConnectedError):
        await client.call({}, b"ab", LIMIT)
    service.go.set()
    second = FrameServer(service)
    await second.start("127.0.0.1", port)
    await asyncio.sleep(frames._AGAIN)
    assert await client.call({}, b"ab", LIMIT) == b"ba"
    await second.stop(1.0)


async def test_a_server_that_stops_lets_calls_end(
    client: FrameClient, service: Service, port: int
) -> None:
    server = FrameServer(service)
    await server.start("127.0.0.1", port)
    service.go.clear()
    waiting = asyncio.create_task(client.call({}, b"ab", LIMIT))
    await until(lambda: service.began == [b"ab"])
    stopping = asyncio.create_task(server.stop(LIMIT))
    await asyncio.sleep(0.01)
    service.go.set()
    assert await waiting == b"ba"
    await stopping


async def test_nobody_there_is_said_at_once_and_not_tried_for_a_moment(
    client: FrameClient,
) -> None:
    for _ in range(2):
        with pytest.raises(NotConnectedError):
            await client.call({}, b"ab", LIMIT)


async def test_one_who_takes_calls_and_says_nothing_is_waited_for_until_the_deadline(
    client: FrameClient, port: int
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", port):
        with pytest.raises(CallFailedError) as late:
            await client.call({}, b"ab", 0.05)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await client.close()


async def test_what_a_server_does_not_take_is_bounded(
    client: FrameClient, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was stopped: its system still acknowledges, nobody reads."""
    monkeypatch.setattr(frames, "MOST_UNSENT", 2**20)

    def stopped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)  # the stream stops to take bytes that nobody reads

    writers: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(stopped, "127.0.0.1", port):
        codes = []
        for _ in range(40):
            with pytest.raises(CallFailedError) as failed:
                await client.call({}, b"x" * 2**20, 0.02)
            codes.append(failed.value.code())
        assert codes[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        assert codes[-1] is grpc.StatusCode.UNAVAILABLE
        await client.close()
        for writer in writers:
            writer.transport.abort()


@pytest.mark.parametrize("name", ["assembler_address", "assembler_frames_address"])
def test_what_is_no_address_is_refused_by_the_settings(name: str) -> None:
    for address in ("", "assembler", "assembler:", ":50053", "a:b", "http://a:1", "a:1/", "a b:1"):
        with pytest.raises(ValidationError, match="must be host:port"):
            Settings.model_validate({name: address})
    for address in ("assembler:50053", "127.0.0.1:1", "[::1]:50053", "a-b.example.com:443"):
        assert getattr(Settings.model_validate({name: address}), name) == address


def frame(number: int, kind: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    said = 5 + len(payload) if length is None else length
    return struct.pack("!IIB", said, number, kind) + payload


CALL = frame(1, 1, b"\0\0ab")


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 12])
async def test_frames_may_come_in_pieces(port: int, size: int) -> None:
    sent = b"IBEX/1\n" + CALL + frame(2, 1, b"\0\0cd")
    async with connected(port) as (reader, writer):
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await asyncio.sleep(0)
        answers = await reader.readexactly(2 * (9 + 2))
    assert sorted((answers[:11], answers[11:])) == [frame(1, 2, b"ba"), frame(2, 2, b"dc")]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"IBEX/2\n" + CALL,
        b"IBEX/1\n" + frame(1, 9),
        b"IBEX/1\n" + frame(1, 1, length=4),
        b"IBEX/1\n" + frame(1, 1, length=2**31),
    ],
)
async def test_what_is_no_frame_ends_the_connection(port: int, sent: bytes) -> None:
    async with asyncio.timeout(LIMIT), connected(port) as (reader, writer):
        writer.write(sent)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\x05{}", b"\0\x02{]"])
async def test_a_call_that_is_malformed_is_refused_and_the_next_one_served(
    port: int, payload: bytes
) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"IBEX/1\n" + frame(1, 1, payload))
        length, number, kind = struct.unpack("!IIB", await reader.readexactly(9))
        assert (number, kind) == (1, 3)
        refusal = await reader.readexactly(length - 5)
        assert refusal[0] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        writer.write(CALL)
        assert await reader.readexactly(11) == frame(1, 2, b"ba")
