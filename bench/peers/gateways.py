"""The gateways that IBEX is compared with: how each is set up for the mock upstream.

As they come, but for what their own guides say for production: no debug log, nothing sent home, no
database. LiteLLM does not start without a key of its own, so it gets one.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from bench.hotpath.comparison import MODEL
from bench.hotpath.load import Load, Plan
from bench.hotpath.phases import Target
from bench.peers.installing import Steps, npm_steps, python_steps, tool
from ibex.embedded.process import ProcessSpec

_READY: Final = 180.0  # seconds; LiteLLM loads for half a minute on a busy machine
_PROBE: Final = 0.02  # seconds
_UPSTREAM_KEY: Final = "bench"


@dataclass(frozen=True)
class Setup:
    folder: Path
    port: int
    upstream: str  # ends in /v1
    workers: int  # processes that answer, where the gateway knows such a thing
    key: str = field(default_factory=partial(secrets.token_hex, 16), repr=False)


@dataclass(frozen=True)
class Peer:
    name: str
    version: str
    steps: Steps
    headers: Callable[[Setup], Mapping[str, str]]
    command: Callable[[Setup], tuple[str, ...]]
    env: Callable[[Setup], Mapping[str, str]]
    prepare: Callable[[Setup], object] | None = None

    @property
    def what(self) -> str:
        return f"{self.name} {self.version}"

    def target(self, setup: Setup) -> Target:
        url = f"http://127.0.0.1:{setup.port}/v1"
        return Target(self.name, url, self.headers(setup))

    def process(self, setup: Setup) -> ProcessSpec:
        """Ready when it gives the mock's answers, whole and streamed."""
        return ProcessSpec(
            name=self.name,
            title=self.what,
            command=self.command(setup),
            env={"HOME": str(setup.folder), **self.env(setup)},
            inherits=False,
            port=setup.port,
            ready=partial(answers, self.target(setup)),
            prepare=partial(self.prepare, setup) if self.prepare else None,
            stop_timeout=10.0,
            ready_timeout=_READY,
        )


async def answers(target: Target) -> bool:
    """Does one request of each kind come back whole?"""
    for stream in (False, True):
        plan = Plan(
            url=target.url,
            headers=dict(target.headers),
            model=MODEL,
            stream=stream,
            clients=1,
            rate=0,
            seconds=_PROBE,
            first_question=0,
            seed=0,
        )
        try:
            outcome = await Load(plan).run()
        except OSError:
            await asyncio.sleep(0.3)
            return False
        if outcome.errors or not outcome.total:
            await asyncio.sleep(0.3)
            return False
    return True


def litellm_config(upstream: str) -> dict[str, object]:
    parameters = {"model": f"openai/{MODEL}", "api_base": upstream, "api_key": _UPSTREAM_KEY}
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False},
    }


def _litellm_command(setup: Setup) -> tuple[str, ...]:
    return (
        str(setup.folder / "venv" / "bin" / "litellm"),
        *("--config", str(_litellm_file(setup))),
        *("--host", "127.0.0.1", "--port", str(setup.port)),
        *("--num_workers", str(setup.workers)),
    )


def _litellm_prepare(setup: Setup) -> None:
    _litellm_file(setup).write_bytes(orjson.dumps(litellm_config(setup.upstream)))  # JSON is YAML


def _litellm_file(setup: Setup) -> Path:
    return setup.folder / "config.yaml"


def _portkey_command(setup: Setup) -> tuple[str, ...]:
    start = setup.folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return (tool("node"), str(start), f"--port={setup.port}", "--headless")


def _litellm_env(setup: Setup) -> Mapping[str, str]:
    return {
        "LITELLM_MASTER_KEY": setup.key,
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",  # it reads no .env of anybody
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_PROXY": "127.0.0.1",
    }


def _portkey_headers(setup: Setup) -> Mapping[str, str]:
    return {
        "authorization": f"Bearer {_UPSTREAM_KEY}",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": setup.upstream,
    }


LITELLM: Final = Peer(
    name="litellm",
    version="1.106.2",
    steps=python_steps("litellm[proxy]==1.106.2"),
    headers=lambda setup: {"authorization": f"Bearer {setup.key}"},
    command=_litellm_command,
    env=_litellm_env,
    prepare=_litellm_prepare,
)
PORTKEY: Final = Peer(
    name="portkey",
    version="1.15.2",
    # With later versions of its server it answers every stream with 500:
    # https://github.com/Portkey-AI/gateway/issues/1389
    steps=npm_steps("@portkey-ai/gateway", "1.15.2", {"@hono/node-server": "1.13.8"}),
    headers=_portkey_headers,
    command=_portkey_command,
    env=lambda _: {"NODE_ENV": "production"},
)
PEERS: Final = (LITELLM, PORTKEY)
