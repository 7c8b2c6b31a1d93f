"""The whole stack, started and stopped by the command that users have."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ibex.ids import new_id
from ibex.provisioning import Provisioned, provision
from ibex.settings import SECRETS_FILE, Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.walkthrough import Walkthrough
from tests.conftest import free_port

IBEX = Path(sys.executable).parent / "ibex"
START_LIMIT = 240  # seconds: every part loads its libraries on few cores


@dataclass(frozen=True)
class Stack:
    settings: Settings
    env: dict[str, str]

    def ibex(
        self, *arguments: str, check: bool = True, limit: float = 60
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(IBEX), *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"ibex {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}")
        return done

    def status(self) -> dict[str, dict[str, Any]]:
        done = self.ibex("status", "--json", check=False)
        return {process["name"]: process for process in json.loads(done.stdout)}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`ibex up` in an empty folder on free ports, `ibex down` afterwards."""
    home = tmp_path_factory.mktemp("stack") / ".ibex"
    ports = {
        f"IBEX_{name.upper()}": str(free_port())
        for name in Settings.model_fields
        if name.endswith("_port")
    }
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("IBEX_") and name != "OPENAI_API_KEY"
    }
    timing = {"IBEX_EXTRACTION_LEASE": "20", "IBEX_EXTRACTION_BACKOFF": "1"}
    env = {**outside, **ports, **timing, "IBEX_HOME": str(home), "COLUMNS": "120"}
    started = Stack(Settings(), env)
    try:
        started.ibex("up", limit=START_LIMIT)
        values = {name.removeprefix("IBEX_").lower(): value for name, value in env.items()}
        known = {name: value for name, value in values.items() if name in Settings.model_fields}
        settings = Settings(_env_file=home / SECRETS_FILE, **known)  # type: ignore[arg-type]
        yield Stack(settings, env)
    finally:
        started.ibex("down")


@pytest.fixture
async def tenant(stack: Stack) -> AsyncIterator[Provisioned]:
    """An organization and an agent of this test's own on the running stack."""
    database = await Database.connect(stack.settings.app_dsn, name="acceptance")
    try:
        yield await provision(
            stack.settings,
            IdentityStore(database),
            organization=f"org-{new_id()}",
            agent="assistant",
            directive="You are a helpful assistant.",
        )
    finally:
        await database.close()


@pytest.fixture
async def walk(stack: Stack, tenant: Provisioned) -> AsyncIterator[Walkthrough]:
    async with Walkthrough.open(stack.settings, tenant.token, tenant.agent) as walk:
        yield walk
