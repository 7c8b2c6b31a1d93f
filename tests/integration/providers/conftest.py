"""A proxy with two providers: `default` is `upstream`, the other one `second`."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from ibex.providers import ProviderSettings
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from tests.integration.providers.asking import SECOND_KEY, Agents, running
from tests.proxying import (
    ProxyClient,
    ScriptedUpstream,
    completion,
    whole,
)


@pytest.fixture
async def second() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream().running() as upstream:
        upstream.script = whole(completion("Second."))
        yield upstream


@pytest.fixture
def proxy_changes(second: ScriptedUpstream) -> Mapping[str, Any]:
    return {
        "provider_api_key": SecretStr("sk-of-the-first"),
        "providers": {
            "second": ProviderSettings(base_url=second.url, api_key=SecretStr(SECOND_KEY))
        },
    }


@pytest.fixture
async def proxy(
    proxy_settings: Settings, assembler_server: Settings, identity: IdentityStore, org_id: UUID
) -> AsyncIterator[ProxyClient]:
    async with running(proxy_settings, identity, org_id) as client:
        yield client


@pytest.fixture
def agents(identity: IdentityStore, org_id: UUID) -> Agents:
    return Agents(identity, org_id)
