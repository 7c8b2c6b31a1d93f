"""Compressed, large and malformed bodies."""

import gzip
from collections.abc import Callable

import orjson
import pytest
from backports import zstd

from tests.integration.providers.asking import Agents
from tests.proxying import (
    ProxyClient,
    Reply,
    ScriptedUpstream,
)


@pytest.fixture
async def plain(agents: Agents) -> dict[str, str]:
    return await agents.named()


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}


async def send(proxy: ProxyClient, body: bytes, agent: dict[str, str], encoding: str) -> Reply:
    headers = {"content-encoding": encoding, **agent}
    return await proxy.post("/v1/chat/completions", body, headers=headers)


@pytest.mark.parametrize("encoding", sorted(PACK))
async def test_a_compressed_body_is_unpacked(
    proxy: ProxyClient, plain: dict[str, str], upstream: ScriptedUpstream, encoding: str
) -> None:
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Grüße" * 900}]})
    assert (await send(proxy, PACK[encoding](body), plain, encoding)).status == 200
    (arrived,) = upstream.arrived
    assert arrived.raw == body
    assert "content-encoding" not in arrived.headers


@pytest.mark.parametrize("encoding", sorted(PACK))
async def test_a_bomb_is_413_and_what_is_not_compressed_400(
    proxy: ProxyClient, plain: dict[str, str], upstream: ScriptedUpstream, encoding: str
) -> None:
    reply = await send(proxy, PACK[encoding](bytes(100_000_000)), plain, encoding)
    assert (reply.status, reply.code) == (413, "request_too_large")
    for wrong in (b"{}", b"", PACK[encoding](b"{}")[:-1], PACK[encoding](b"{}") + b"x"):
        reply = await send(proxy, wrong, plain, encoding)
        assert (reply.status, reply.code) == (400, "invalid_request")
    assert upstream.arrived == []


async def test_another_encoding_is_415_and_told_what_goes(
    proxy: ProxyClient, plain: dict[str, str]
) -> None:
    reply = await send(proxy, b"x", plain, "br")
    assert (reply.status, reply.code) == (415, "unsupported_encoding")
    assert reply.headers["accept-encoding"] == "gzip, zstd"
    assert (await send(proxy, b"{", plain, "identity")).code == "invalid_request"


async def test_ten_megabytes_pass_and_what_is_too_deep_or_no_text_is_400(
    proxy: ProxyClient, plain: dict[str, str], upstream: ScriptedUpstream
) -> None:
    text = "é" * 5_000_000
    reply = await proxy.chat(text, headers=plain)
    assert reply.status == 200
    assert upstream.arrived[0].messages[-1]["content"] == text
    deep = b"[" * 100_000 + b"]" * 100_000
    said = b'{"messages": [{"role": "user", "content": %s}]}'
    for body in (deep, said % deep, said % (b"[" * 500 + b"]" * 500), said % b'"\xff"', b"\xff"):
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            reply = await proxy.post(path, body, headers=plain)
            assert (reply.status, reply.code) == (400, "invalid_request")
    assert len(upstream.arrived) == 1
