"""Who asks whom: agents with policies, and providers that fail in every way there is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson

from ibex.ids import new_id
from ibex.policy import Fallback
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from tests.proxying import (
    STREAM_HEAD,
    Arrived,
    ProxyClient,
    Script,
    head,
    proxy_client,
    running_proxy,
    sends,
    whole,
)

SECOND_KEY = "sk-of-the-second"
SECOND = Fallback("second", "m2")


@asynccontextmanager
async def running(
    settings: Settings, identity: IdentityStore, org_id: UUID
) -> AsyncIterator[ProxyClient]:
    """With a token for every agent of the organization."""
    token = await identity.create_token(org_id, "app")
    async with running_proxy(settings) as base, proxy_client(base, token.text) as client:
        yield client


class Agents:
    def __init__(self, identity: IdentityStore, org_id: UUID) -> None:
        self._identity = identity
        self._org_id = org_id

    async def named(self, **policy: Any) -> dict[str, str]:
        """The header that names a new agent with this policy."""
        agent_id = await self._identity.create_agent(self._org_id, f"a-{new_id()}", **policy)
        return {"x-ibex-agent-id": str(agent_id)}


async def hangs_up(_: Arrived, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def hangs(_: Arrived, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


def in_turn(*scripts: Script) -> Script:
    """One for each request, the last one for all that follow."""
    left = list(scripts)

    async def script(request: Arrived, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return script


def failing(status: int, **headers: str | int) -> Script:
    return whole(orjson.dumps({"error": {"message": f"first {status}"}}), status, **headers)


TRUNCATED = sends(head(content_length=100) + b"{")
FAILURES: dict[str, Script] = {
    "hangs up": hangs_up,
    "hangs": hangs,
    "garbage": sends(b"garbage\r\n\r\n"),
    "truncates": TRUNCATED,
    "begins no stream": sends(STREAM_HEAD),
    "429": failing(429, retry_after=60),
    "500": failing(500),
    "502": failing(502),
    "503": failing(503, retry_after=60),
    "504": failing(504),
}
