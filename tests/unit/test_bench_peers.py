"""The comparison with other gateways: how they are set up, left out, and summed up."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from bench.hotpath import mock
from bench.hotpath.comparison import DIRECT, MEMORY_OFF, MEMORY_ON
from bench.hotpath.phases import Kind, Loop, Target
from bench.hotpath.report import Line
from bench.peers.gateways import LITELLM, PEERS, PORTKEY, Setup, answers
from bench.peers.installing import PeerUnavailableError, installed, npm_steps
from bench.peers.report import figures, owners, slug, summaries
from bench.stack import free_ports

UPSTREAM = "http://127.0.0.1:9999/v1"


def line(
    target: str,
    loop: Loop,
    kind: Kind,
    added: float,
    *,
    errors: int = 0,
    cpu: dict[str, float] | None = None,
) -> Line:
    times = {"p50": added, "p95": added, "p99": 2 * added}
    return Line(
        target=target,
        loop=loop,
        kind=kind,
        rps=1000 / added,
        total_ms=times,
        ttfb_ms=times,
        added_total_ms=times,
        added_ttfb_ms=times,
        context_ms={},
        requests=100,
        errors={"timeout": errors} if errors else {},
        fallbacks={"timeout": 10},
        degraded={},
        empty=0,
        cpu_ms_per_request=cpu or {},
        memory_mib=cpu or {},
    )


def test_each_is_summed_up_with_its_own_processes() -> None:
    cpu = {"proxy": 1.0, "postgres": 2.0, "litellm": 7.0}
    lines = [
        line(DIRECT, "open", "plain", 1),
        line(MEMORY_OFF, "open", "plain", 2, cpu=cpu),
        line(MEMORY_ON, "open", "plain", 10, cpu=cpu),
        line("litellm", "open", "plain", 20, cpu=cpu, errors=1),
        line("litellm", "open", "stream", 40, cpu=cpu, errors=30),
        line("litellm", "closed", "plain", 5, cpu=cpu, errors=4),
    ]
    found = summaries(lines, owners(["litellm"], ["proxy", "postgres"]))
    assert [one.name for one in found] == [MEMORY_OFF, MEMORY_ON, "litellm"]
    # Each request of IBEX without memory says that it had no context: that is no fallback.
    assert [one.fallback_share_open for one in found] == [0, 0.1, 0]
    flat = figures(found)
    assert flat["ibex_memory_on_added_p50_ms"] == 10
    assert flat["ibex_memory_on_added_p99_ms"] == 20
    assert flat["ibex_memory_on_cpu_ms_per_request"] == 3.0
    assert flat["ibex_memory_on_fallback_share_open"] == 0.1
    assert flat["ibex_memory_on_stream_added_p99_ms"] is None
    assert flat["litellm_cpu_ms_per_request"] == 7.0
    assert flat["litellm_stream_added_p99_ms"] == 80
    assert flat["litellm_rps_closed"] == 200
    assert flat["litellm_errors"] == 35
    assert flat["litellm_error_share_open"] == 0.155
    assert "ibex_memory_off_fallback_share_open" not in flat
    assert slug(MEMORY_OFF) == "ibex_memory_off"


def test_they_send_on_to_the_mock(tmp_path: Path) -> None:
    setup = Setup(tmp_path, 4000, UPSTREAM, workers=2)
    spec = LITELLM.process(setup)
    assert spec.prepare is not None
    spec.prepare()
    config = orjson.loads((tmp_path / "config.yaml").read_bytes())
    (model,) = config["model_list"]
    assert model["litellm_params"]["api_base"] == UPSTREAM
    assert spec.command[-2:] == ("--num_workers", "2")
    # Its key is in nobody's process list, and each start has another one.
    key = spec.env["LITELLM_MASTER_KEY"]
    assert LITELLM.target(setup).headers["authorization"] == f"Bearer {key}"
    assert not any(key in word for word in spec.command)
    assert Setup(tmp_path, 4000, UPSTREAM, workers=2).key != key
    portkey = PORTKEY.target(setup)
    assert portkey.url == "http://127.0.0.1:4000/v1"
    assert portkey.headers["x-portkey-custom-host"] == UPSTREAM
    # Nothing of the environment, where a real provider's key may be, is handed on.
    assert not spec.inherits


async def test_one_that_answers_half_is_not_ready() -> None:
    (port,) = free_ports(1)
    target = Target("mock", f"http://127.0.0.1:{port}/v1")
    assert not await answers(target)
    loop = asyncio.get_running_loop()
    async with await loop.create_server(mock.Mock, "127.0.0.1", port):
        assert await answers(target)

    class WithoutStreams(mock.Mock):
        def on_message_complete(self) -> None:
            if b'"stream":true' in b"".join(self._body):
                self._transport.write(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n")
            else:
                super().on_message_complete()

    async with await loop.create_server(WithoutStreams, "127.0.0.1", port):
        assert not await answers(target)


async def test_it_is_installed_once_for_each_version(tmp_path: Path) -> None:
    folder = tmp_path / "peer"

    def steps(place: Path) -> Sequence[Sequence[str]]:
        return ((sys.executable, "-c", "open('made', 'a').write('x')"),)

    await installed(folder, "peer 1", steps)
    await installed(folder, "peer 1", steps)
    assert (folder / "made").read_text() == "x"
    (folder / "old").touch()
    await installed(folder, "peer 2", steps)
    assert (folder / "made").read_text() == "x"
    assert not (folder / "old").exists()


async def test_what_cannot_be_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(place: Path) -> Sequence[Sequence[str]]:
        return ((sys.executable, "-c", "import sys; sys.exit('no such package')"),)

    with pytest.raises(PeerUnavailableError) as failure:
        await installed(tmp_path / "peer", "peer 1", fails)
    assert "peer 1" in failure.value.message
    assert "no such package" in (tmp_path / "peer" / "install.log").read_text()
    assert not (tmp_path / "peer" / "installed").exists()  # the next run tries again

    def nowhere(name: str) -> None:
        return None

    monkeypatch.setattr("shutil.which", nowhere)
    with pytest.raises(PeerUnavailableError, match="npm"):
        await installed(tmp_path / "npm", "portkey 1", npm_steps("p", "1", {}))


def test_nothing_of_them_is_needed_by_ibex() -> None:
    root = Path(__file__).parents[2]
    for file in ("requirements.lock", "pyproject.toml"):
        text = (root / file).read_text()
        assert not any(peer.name in text for peer in PEERS)
