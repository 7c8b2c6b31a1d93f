"""The embedding service with the real model and Redis, through its client and over plain HTTP."""

import asyncio
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
import redis.asyncio
from pyreqwest.client import Client, ClientBuilder

from hotpath.assembler.questions import QuestionEmbedder
from ibex.embedding import EmbedderClient
from ibex.errors import EmbedderUnavailableError, InvalidRequestError
from ibex.ids import new_id
from ibex.rpc.frames import CallFailedError, FrameClient
from ibex.settings import Settings
from ibex.stores import keys
from tests.conftest import free_port, service_env

pytestmark = pytest.mark.usefixtures("embedder_server")


@pytest.fixture
async def embedder(base_settings: Settings) -> AsyncIterator[EmbedderClient]:
    client = EmbedderClient(base_settings.embedder_endpoint, timeout=30)
    yield client
    await client.close()


@pytest.fixture
async def http(base_settings: Settings) -> AsyncIterator[Client]:
    builder = ClientBuilder().base_url(f"{base_settings.embedder_endpoint}/").no_proxy()
    async with builder.build() as client:
        yield client


async def counter(http: Client, name: str) -> int:
    response = await http.get("metrics").build().send()
    found = re.search(rf"^ibex_embedder_{name} (\d+)\.0$", await response.text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


async def test_vectors_have_unit_length_and_mean_something(embedder: EmbedderClient) -> None:
    rows = await embedder.embed(
        [
            "Which database host should I use?",
            "User's database host is db.example.com.",
            "Caroline adopted a kitten.",
        ]
    )
    assert rows.shape == (3, 384)
    assert rows.dtype == np.dtype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    likeness = rows @ rows[0]
    assert likeness[1] > 0.5 > likeness[2]


async def test_json_and_binary_replies_agree(embedder: EmbedderClient, http: Client) -> None:
    texts = ["one text", "another text", "one text"]
    response = await http.post("embed").body_json({"texts": texts}).build().send()
    body = await response.json()
    assert (body["model"], body["dimensions"], body["truncated"]) == ("all-MiniLM-L6-v2", 384, [])
    np.testing.assert_array_equal(
        np.array(body["embeddings"], np.float32), await embedder.embed(texts)
    )
    assert body["embeddings"][0] == body["embeddings"][2] != body["embeddings"][1]


async def test_frames_give_what_http_gives_and_refuse_what_it_refuses(
    base_settings: Settings, embedder: EmbedderClient
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    assert base_settings.embedder_frames_target is not None
    text = f"Which database host should {new_id()} use?"
    expected = await embedder.embed([text, "Grüße, 世界"])
    for target in (base_settings.embedder_frames_target, nobody):
        frames = FrameClient(target)
        questions = QuestionEmbedder(embedder, frames, timeout=30)
        np.testing.assert_array_equal(await questions.embed([text, "Grüße, 世界"]), expected)
        for refused in (["", "x"], ["\ud800"]):
            with pytest.raises(InvalidRequestError):
                await questions.embed(refused)
        await frames.close()


async def test_frames_that_are_no_request_are_refused(base_settings: Settings) -> None:
    frames = FrameClient(base_settings.embedder_frames_target or "")
    for message in (b"", b"[]", b"{", b'{"texts": 1}'):
        with pytest.raises(CallFailedError) as refused:
            await frames.call({}, message, 30)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await frames.close()


async def test_a_text_alone_and_in_a_batch_has_the_same_vector(embedder: EmbedderClient) -> None:
    tag = new_id()
    texts = [f"Text {tag} number {number} {'long ' * number}" for number in range(20)]
    batch = await embedder.embed(texts)
    alone = await embedder.embed([f"{texts[7]} "])  # the blank makes it new to the cache
    np.testing.assert_allclose(batch[7], alone[0], atol=1e-5)


async def test_more_texts_than_a_request_holds_are_split(embedder: EmbedderClient) -> None:
    texts = [f"text {number % 40}" for number in range(1030)]
    rows = await embedder.embed(texts)
    assert rows.shape == (1030, 384)
    np.testing.assert_array_equal(rows[1020], rows[20])
    assert (await embedder.embed([])).shape == (0, 384)


async def test_a_text_seen_before_comes_from_redis(
    base_settings: Settings, embedder: EmbedderClient, http: Client
) -> None:
    text = f"A text nobody has seen: {new_id()}"
    first = await embedder.embed([text])
    key = keys.embedding("all-MiniLM-L6-v2", hashlib.sha256(text.encode()).hexdigest())
    async with redis.asyncio.Redis.from_url(base_settings.redis_dsn) as client:
        for _ in range(500):  # it is written after the reply
            if await client.exists(key):
                break
            await asyncio.sleep(0.01)
        assert 0 < await client.ttl(key) <= 7 * 24 * 3600
        assert await client.strlen(key) == 384 * 4 + 1
    hits, misses = (
        await counter(http, "cache_hits_total"),
        await counter(http, "cache_misses_total"),
    )
    np.testing.assert_array_equal(await embedder.embed([text, text]), np.repeat(first, 2, axis=0))
    assert await counter(http, "cache_hits_total") == hits + 1
    assert await counter(http, "cache_misses_total") == misses


async def test_a_long_text_is_marked_also_when_it_is_cached(http: Client) -> None:
    long = f"{new_id()} " + "word " * 300
    for _ in range(2):
        response = await http.post("embed").body_json({"texts": ["short", long]}).build().send()
        assert (await response.json())["truncated"] == [1]
    request = http.post("embed").header("accept", "application/octet-stream")
    response = await request.body_json({"texts": [long, "short", long]}).build().send()
    assert response.headers["x-ibex-truncated"] == "0,2"
    assert response.headers["x-ibex-model"] == "all-MiniLM-L6-v2"
    assert len(await response.bytes()) == 3 * 384 * 4


async def test_callers_at_once_are_answered_from_few_batches(
    embedder: EmbedderClient, http: Client
) -> None:
    tag = new_id()
    before = await counter(http, "batches_total")
    rows = await asyncio.gather(*(embedder.embed([f"{tag} {number}"]) for number in range(50)))
    assert await counter(http, "batches_total") - before < 50
    again = await embedder.embed([f"{tag} {number}" for number in range(50)])
    np.testing.assert_allclose(np.concatenate(rows), again, atol=1e-5)


async def test_an_empty_text_is_the_callers_mistake(embedder: EmbedderClient) -> None:
    with pytest.raises(InvalidRequestError, match=r"refused the 2 texts: Text 1 is empty\."):
        await embedder.embed(["fine", ""])
    with pytest.raises(InvalidRequestError):
        await embedder.embed(["\ud800"])


async def test_a_body_that_is_too_large_is_refused(base_settings: Settings, http: Client) -> None:
    body = b'{"text": "' + b"x" * base_settings.max_body_bytes + b'"}'
    response = await http.post("embed").body_bytes(body).build().send()
    assert response.status == 413


async def test_a_request_may_name_the_model_it_expects(http: Client) -> None:
    for name, status in (("all-MiniLM-L6-v2", 200), ("another", 400)):
        response = await http.post("embed").body_json({"text": "x", "model": name}).build().send()
        assert response.status == status


async def test_a_client_may_insist_on_a_model(base_settings: Settings) -> None:
    for model in ("all-MiniLM-L6-v2", "another"):
        client = EmbedderClient(base_settings.embedder_endpoint, timeout=30, model=model)
        if model == "another":
            with pytest.raises(InvalidRequestError, match="has the model all-MiniLM-L6-v2"):
                await client.embed(["x"])
        else:
            assert (await client.embed(["x"])).shape == (1, 384)
        await client.close()


@pytest.mark.parametrize(
    "text", ["x " * 5000, "字" * 10_000, "🎉" * 600, "\x00", "é\u200d\u0301", "[SEP]"]
)
async def test_strange_texts_have_vectors_of_unit_length(
    embedder: EmbedderClient, text: str
) -> None:
    rows = await embedder.embed([text, "beside it"])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.usefixtures("sandbox_server")
async def test_a_service_that_is_away_or_another_one_is_unavailable(
    base_settings: Settings,
) -> None:
    for address in ("http://127.0.0.1:9", f"http://127.0.0.1:{base_settings.sandbox_port}"):
        client = EmbedderClient(address, timeout=2)
        with pytest.raises(EmbedderUnavailableError):
            await client.embed(["text"])
        await client.close()


def test_another_models_name_stops_the_start(base_settings: Settings) -> None:
    env = {**os.environ, **service_env(base_settings), "IBEX_EMBEDDING_MODEL": "other"}
    command = [sys.executable, "-m", "hotpath.embedder"]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=30, cwd="/"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ibex: IBEX_EMBEDDING_MODEL is 'other'")
    assert done.stderr.count("\n") == 1
