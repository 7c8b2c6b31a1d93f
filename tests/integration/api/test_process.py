import asyncio
from uuid import UUID

import pytest
from pyreqwest.client import SyncClientBuilder

from api.services import open_services
from ibex.errors import DatabaseUnavailableError
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from tests.conftest import free_port, http_service, run_server

SECRET = "hunter2"


async def test_the_process_serves_logs_no_query_and_stops_when_asked(
    assembler_server: Settings, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    settings = assembler_server
    token = (await identity.create_token(org_id, "op", scopes=("read", "content"))).text

    def use() -> str:
        spec = http_service("api", settings.api_port, settings)
        for _ in run_server(spec, settings.home):
            with SyncClientBuilder().no_proxy().build() as http:
                url = f"{settings.api_endpoint}/api/v1/agents/assistant/memories?q={SECRET}"
                answer = http.get(url).header("Authorization", f"Bearer {token}").build().send()
                assert answer.status == 200
        return (settings.home / "api.log").read_text()

    log = await asyncio.to_thread(use)
    assert "/memories 200" in log
    assert SECRET not in log
    assert token not in log
    assert "Application shutdown complete" in log


async def test_it_starts_without_its_servers_and_says_what_is_missing(settings: Settings) -> None:
    nowhere = f"postgresql://ibex_app:x@127.0.0.1:{free_port()}/ibex"
    alone = settings.model_copy(
        update={"database_url": nowhere, "assembler_address": f"127.0.0.1:{free_port()}"}
    )
    async with open_services(alone) as services:
        assert await services.ready() == {"postgres": False, "auth": False}
        with pytest.raises(DatabaseUnavailableError):
            await services.management.agents(UUID(int=1), limit=1)
