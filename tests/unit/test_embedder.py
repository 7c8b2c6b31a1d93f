"""The embedder without its model: batching, the cache's failures, loading, bad requests."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pytest

from hotpath.embedder import batching
from hotpath.embedder import service as service_module
from hotpath.embedder.batching import QUEUE_LIMIT, Batcher, Waiting, take
from hotpath.embedder.cache import EmbeddingCache, _pack, _unpack
from hotpath.embedder.model import Embedding
from hotpath.embedder.requests import parse_texts
from hotpath.embedder.service import EmbedderService
from ibex.errors import EmbedderUnavailableError, InvalidRequestError
from ibex.settings import Settings

NOBODY = "redis://127.0.0.1:9/0"


def embedding(text: str) -> Embedding:
    """Tells texts apart by their length."""
    return Embedding(np.full(384, len(text), np.float32), False)


class Model:
    """Encodes when it is let, and keeps the batches it saw."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()
        self.go.set()

    def encode(self, texts: list[str]) -> list[Embedding]:
        self.go.wait(10)
        self.batches.append(texts)
        if "broken" in texts:
            raise RuntimeError("the model failed")
        return [embedding(text) for text in texts]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher]:
    with ThreadPoolExecutor(1) as executor:
        yield Batcher(model.encode, executor)
        model.go.set()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never came to that")


# --- batching ---


async def test_callers_at_once_share_a_batch_and_get_their_own(
    batcher: Batcher, model: Model
) -> None:
    model.go.clear()
    first = asyncio.create_task(batcher.encode(["first"]))
    await until(lambda: batcher.batches == 1)
    others = [asyncio.create_task(batcher.encode(["x" * size])) for size in (1, 2, 3)]
    await until(lambda: batcher.queued == 3)
    model.go.set()
    results = await asyncio.gather(first, *others)
    assert [int(rows[0].vector[0]) for rows in results] == [5, 1, 2, 3]
    assert model.batches == [["first"], ["x", "xx", "xxx"]]


async def test_a_question_goes_before_a_large_request(batcher: Batcher, model: Model) -> None:
    model.go.clear()
    large = asyncio.create_task(batcher.encode([f"large {'x' * 100}"] * 40))
    await until(lambda: batcher.queued == 31)  # nine of them fill a batch
    small = asyncio.create_task(batcher.encode(["small"]))
    await until(lambda: batcher.queued == 32)
    model.go.set()
    await small
    await large
    assert model.batches[1] == ["small"]


async def test_another_thread_takes_what_waits_beside_a_running_batch(model: Model) -> None:
    model.go.clear()
    with ThreadPoolExecutor(2) as executor:
        batcher = Batcher(model.encode, executor, threads=2)
        large = asyncio.create_task(batcher.encode([f"large {'x' * 100}"] * 40))
        await until(lambda: batcher.batches == 2)  # and no third
        small = asyncio.create_task(batcher.encode(["small"]))
        await until(lambda: batcher.queued == 23)
        model.go.set()
        assert len(await small) == 1
        assert len(await large) == 40
    assert sum(map(len, model.batches)) == 41


async def test_large_requests_and_background_work_are_not_starved(
    batcher: Batcher, model: Model
) -> None:
    model.go.clear()
    first = asyncio.create_task(batcher.encode(["first"]))
    await until(lambda: batcher.batches == 1)
    work = asyncio.create_task(batcher.encode(["b" * 1000], background=True))
    large = asyncio.create_task(batcher.encode([f"l{'x' * 1000}", *["l"] * 8]))
    questions = [asyncio.create_task(batcher.encode(["q" * 1000])) for _ in range(8)]
    await until(lambda: batcher.queued == 18)
    model.go.set()
    await asyncio.gather(first, work, large, *questions)
    assert "".join(texts[0][0] for texts in model.batches) == "fqlbqqlqqqqq"


async def test_a_small_request_that_nobody_waits_for_is_background(
    batcher: Batcher, model: Model
) -> None:
    model.go.clear()
    first = asyncio.create_task(batcher.encode(["first"]))
    await until(lambda: batcher.batches == 1)
    work = asyncio.create_task(batcher.encode(["work"], background=True))
    await until(lambda: batcher.queued == 1)
    question = asyncio.create_task(batcher.encode(["question"]))
    await until(lambda: batcher.queued == 2)
    model.go.set()
    await asyncio.gather(first, work, question)
    assert model.batches == [["first"], ["question"], ["work"]]


async def test_beside_questions_background_work_has_one_thread_and_small_batches(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_LATELY", 60.0)
    monkeypatch.setattr(batching, "_REST", 0.0)
    model.go.clear()
    with ThreadPoolExecutor(3) as executor:
        batcher = Batcher(model.encode, executor, threads=3)
        question = asyncio.create_task(batcher.encode(["question"]))
        await until(lambda: batcher.batches == 1)
        work = asyncio.create_task(batcher.encode(["x" * 100] * 40, background=True))
        await until(lambda: batcher.batches == 2)
        assert batcher.queued == 37  # three of a hundred characters
        model.go.set()
        await question
        assert len(await work) == 40


async def test_a_batch_is_bounded_by_its_padded_size() -> None:
    loop = asyncio.get_running_loop()
    texts = ["x" * 200, "x" * 10, "x" * 400, "x" * 5000, "x"]
    lane = deque(Waiting(text, loop.create_future()) for text in texts)
    sizes = []
    while batch := take(lane):
        sizes.append([len(one.text) for one in batch])
    assert sizes == [[200, 10], [400], [5000], [1]]


async def test_a_failed_batch_fails_its_callers_only(batcher: Batcher, model: Model) -> None:
    with pytest.raises(RuntimeError):
        await batcher.encode(["broken", "other"])
    assert len(await batcher.encode(["fine"])) == 1


async def test_a_caller_that_left_costs_no_batch(batcher: Batcher, model: Model) -> None:
    model.go.clear()
    first = asyncio.create_task(batcher.encode(["first"]))
    await until(lambda: batcher.batches == 1)
    left = asyncio.create_task(batcher.encode(["left"]))
    await until(lambda: batcher.queued == 1)
    left.cancel()
    await asyncio.wait([left])
    model.go.set()
    await first
    await batcher.encode(["next"])
    assert model.batches == [["first"], ["next"]]


async def test_texts_of_one_request_are_batched_by_length_and_answered_in_order(
    batcher: Batcher, model: Model
) -> None:
    texts = ["x" * size for size in (90, 3, 80, 2, 70, 1, 60, 4, 50)]
    rows = await batcher.encode(texts)
    assert [int(row.vector[0]) for row in rows] == [len(text) for text in texts]
    assert [len(text) for batch in model.batches for text in batch] == sorted(map(len, texts))


async def test_a_full_queue_refuses_at_once(batcher: Batcher, model: Model) -> None:
    model.go.clear()
    waiting = asyncio.create_task(batcher.encode(["x" * 1000] * QUEUE_LIMIT))
    await until(lambda: batcher.queued == QUEUE_LIMIT - 1)
    with pytest.raises(EmbedderUnavailableError, match="busy"):
        await batcher.encode(["one", "two"])
    waiting.cancel()
    await asyncio.wait([waiting])


# --- the cache ---


@pytest.mark.parametrize("truncated", [True, False])
def test_a_cached_vector_is_the_one_that_was_computed(truncated: bool) -> None:
    vector = np.random.default_rng(7).normal(size=384).astype(np.float32)
    value = _pack(Embedding(vector, truncated))
    known = _unpack(value)
    assert known is not None
    np.testing.assert_array_equal(known.vector, vector)
    assert known.truncated is truncated
    assert _unpack(value[:-1]) is None
    assert _unpack(None) is None


async def test_without_redis_there_is_no_cache_and_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotpath.embedder.cache._PAUSE", -1.0)
    cache = EmbeddingCache(NOBODY, "model")
    assert await cache.read(["secret words"]) == {}
    cache.put({"secret words": embedding("secret words")})
    assert (await cache.read(["secret words"])).keys() == {"secret words"}  # by this process
    await cache.close()
    assert cache.failures == 1
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    await cache.close()


async def test_a_redis_that_is_silent_is_not_waited_for() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        cache = EmbeddingCache(f"redis://127.0.0.1:{port}/0", "model")
        async with asyncio.timeout(5):
            assert await cache.read(["text", "another"]) == {}
        assert cache.failures == 1
        await cache.close()


async def test_after_a_failure_redis_is_left_alone_for_a_while() -> None:
    cache = EmbeddingCache(NOBODY, "model")
    for _ in range(3):
        assert await cache.read(["text", "another"]) == {}
    assert cache.failures == 1
    await cache.close()


# --- the service ---


async def call(
    service: EmbedderService, method: str, path: str, body: bytes = b""
) -> tuple[int, dict[str, str], Any]:
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": []}
    await service(scope, receive, send)
    headers = {key.decode(): value.decode() for key, value in messages[0]["headers"]}
    content = b"".join(message["body"] for message in messages[1:])
    return messages[0]["status"], headers, orjson.loads(content)


@pytest.fixture
async def service() -> AsyncIterator[EmbedderService]:
    service = EmbedderService(Settings(redis_url=NOBODY, max_body_bytes=1024), lambda: None)
    yield service
    await service.stop()


async def test_while_the_model_loads_it_is_alive_and_not_ready(service: EmbedderService) -> None:
    assert (await call(service, "GET", "/health"))[0] == 200
    status, _, body = await call(service, "GET", "/ready")
    assert (status, body) == (503, {"ready": False, "checks": {"model": False}})
    status, headers, body = await call(service, "POST", "/embed", b'{"text": "hello"}')
    assert (status, body["error"]["code"]) == (503, "embedder_unavailable")
    assert headers["retry-after"] == "1"


async def test_a_model_that_cannot_be_loaded_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(settings: Settings) -> None:
        raise OSError("no weights")

    monkeypatch.setattr(service_module, "load_model", broken)
    gave_up = asyncio.Event()
    service = EmbedderService(Settings(redis_url=NOBODY), gave_up.set)
    await service.start()
    await asyncio.wait_for(gave_up.wait(), 5)
    assert (await call(service, "GET", "/ready"))[0] == 503
    await service.stop()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", b"", 404, "not_found"),
        ("GET", "/embed", b"", 405, "method_not_allowed"),
        ("POST", "/embed", b"{", 400, "invalid_request"),
        ("POST", "/embed", b"[]", 400, "invalid_request"),
        ("POST", "/embed", b"{}", 400, "invalid_request"),
        ("POST", "/embed", b'{"text": "' + b"x" * 1024 + b'"}', 413, "request_too_large"),
    ],
)
async def test_errors_have_openais_envelope_and_a_request_id(
    service: EmbedderService, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    answered, headers, error = await call(service, method, path, body)
    assert (answered, error["error"]["code"]) == (status, code)
    assert error["request_id"] == headers["x-request-id"]
    assert error["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"texts": []},
        {"texts": ["x"] * 513},
        {"texts": "x"},
        {"texts": ["x", 5]},
        {"texts": ["x", " \n"]},
        {"text": ""},
        {"text": None},
        {"text": ["x"]},
        {"text": "x", "texts": ["x"]},
    ],
)
def test_what_cannot_be_embedded_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        parse_texts(body)


def test_one_text_and_many_are_taken() -> None:
    assert parse_texts({"text": "one"}) == ["one"]
    assert parse_texts({"texts": ["one", "two"]}) == ["one", "two"]
