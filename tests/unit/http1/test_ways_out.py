"""TLS and egress proxies: who is talked to, and who is not."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from ibex.errors import ConfigurationError
from ibex.http1.egress import Egress, egress_to
from ibex.http1.pool import Origin, Pool, tls_context
from ibex.http1.wire import UnreachedError
from tests.peer import PLAIN, Peer, Visit, answers, ask, body_of, pool_to

CERTIFICATES = Path(__file__).parent / "certificates"  # of an authority that is nobody's
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "model.test.pem")
    return context


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """As an operator with an authority of its own has it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    tls_context.cache_clear()
    yield tls_context()
    tls_context.cache_clear()


async def test_tls_goes_to_the_pinned_address_and_verifies_the_name(
    trusting: ssl.SSLContext,
) -> None:
    async with Peer(answers(PLAIN)).serving(server_context()) as peer:
        async with pool_to(peer.port, host="model.test", tls=trusting) as pool:
            for _ in range(3):
                assert await ask(pool) == (200, b"ok")
        (visit,) = peer.visits
        assert b"host: model.test:%d\r\n" % peer.port in visit.requests[0]
        async with pool_to(peer.port, host="other.test", tls=trusting) as pool:
            with pytest.raises(UnreachedError, match="SSLCertVerificationError"):
                await ask(pool)
        assert len(peer.requests) == 3


async def test_an_authority_that_nobody_trusts_gets_nothing() -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with (
        Peer(answers(PLAIN)).serving(server_context()) as peer,
        pool_to(peer.port, host="model.test", tls=nobody) as pool,
    ):
        with pytest.raises(UnreachedError, match="SSLCertVerificationError"):
            await ask(pool)
        assert peer.requests == []


@pytest.mark.parametrize("named", [False, True])
def test_a_system_without_certificates_trusts_certifis_unless_others_are_named(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    paths = ssl.get_default_verify_paths()._replace(cafile="", capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(
        ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    if named:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing"))
    tls_context.cache_clear()
    context = tls_context()
    tls_context.cache_clear()
    assert bool(context.get_ca_certs()) is not named
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_whoever_stops_waiting_behind_tls_closes_the_connection(
    trusting: ssl.SSLContext,
) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.until_gone()

    async with (
        Peer(script).serving(server_context()) as peer,
        pool_to(peer.port, host="model.test", tls=trusting) as pool,
    ):
        asking = asyncio.create_task(ask(pool))
        async with asyncio.timeout(10):
            while not peer.requests:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(10):
            await peer.visits[0].gone.wait()


async def test_a_large_request_and_answer_pass_tls(trusting: ssl.SSLContext) -> None:
    body = bytes(range(256)) * 2**14  # 4 MiB
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with (
        Peer(answers(answer)).serving(server_context()) as peer,
        pool_to(peer.port, host="model.test", tls=trusting) as pool,
    ):
        assert await ask(pool, body) == (200, body)
        assert peer.requests[0].endswith(body)


# --- egress proxies ---


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_the_environment_says_which_way_out(environment: pytest.MonkeyPatch) -> None:
    assert egress_to("https://model.test/v1") is None
    environment.setenv("HTTPS_PROXY", "http://us%40er:p%3Aw@proxy.test:3128")
    environment.setenv("NO_PROXY", "near.test")
    way = egress_to("https://model.test/v1")
    assert way == Egress("proxy.test", 3128, "Basic dXNAZXI6cDp3")
    assert egress_to("http://model.test/v1") is None
    assert egress_to("https://near.test/v1") is None
    for own in ("localhost", "127.0.0.1", "[::1]"):
        assert egress_to(f"https://{own}:8000/v1") is None
    environment.setenv("ALL_PROXY", "proxy.test")
    assert egress_to("http://model.test/v1") == Egress("proxy.test", 80)


@pytest.mark.parametrize("proxy", ["socks5://proxy.test", "https://proxy.test", "http://", "x:y"])
def test_a_way_out_that_is_not_known_is_told_at_the_start(
    environment: pytest.MonkeyPatch, proxy: str
) -> None:
    environment.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigurationError):
        egress_to("https://model.test/v1")


def through(port: int, origin: Origin) -> Pool:
    way = Egress("127.0.0.1", port, "Basic eA==")
    return Pool(origin, egress=way, connect_timeout=10, idle_timeout=10)


async def test_plain_http_is_asked_of_the_proxy_by_its_whole_address() -> None:
    async with Peer(answers(PLAIN)).serving() as peer:
        pool = through(peer.port, Origin("model.test", 8000, None))
        for _ in range(2):
            assert await ask(pool) == (200, b"ok")
        await pool.close()
    (visit,) = peer.visits
    assert visit.requests[0].startswith(
        b"POST http://model.test:8000/v1/x HTTP/1.1\r\n"
        b"host: model.test:8000\r\nproxy-authorization: Basic eA==\r\n"
    )


async def test_tls_goes_through_a_tunnel(trusting: ssl.SSLContext) -> None:
    async with Peer(answers(PLAIN)).serving(server_context()) as peer:

        async def tunnel(visit: Visit) -> None:
            await visit.request()
            reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
            await visit.say(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                try:
                    while data := await source.read(65536):
                        sink.write(data)
                finally:
                    sink.close()

            await asyncio.gather(
                pump(visit.reader, writer), pump(reader, visit.writer), return_exceptions=True
            )

        async with Peer(tunnel).serving() as proxy:
            pool = through(proxy.port, Origin("model.test", 443, trusting))
            for _ in range(2):
                response = await pool.request("GET", "/v1/models", {}, None)
                assert await body_of(response) == b"ok"
            await pool.close()
        assert proxy.requests == [
            (
                b"CONNECT model.test:443 HTTP/1.1\r\nhost: model.test:443\r\n"
                b"proxy-authorization: Basic eA==\r\n\r\n"
            )
        ]
    assert len(peer.visits) == 1
    assert b"proxy-authorization" not in b"".join(peer.requests)
    assert peer.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\nhost: model.test\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",  # and then no TLS
    ],
)
async def test_a_proxy_that_does_not_let_through_gets_no_request(
    trusting: ssl.SSLContext, answer: bytes
) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(answer)

    async with Peer(script).serving() as proxy:
        pool = through(proxy.port, Origin("model.test", 443, trusting))
        with pytest.raises(UnreachedError):
            await ask(pool)
        await pool.close()
    assert len(proxy.requests) == 1
