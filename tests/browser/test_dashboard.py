"""The dashboard in a real browser: a token gets in, and what a user wrote stays text."""

import asyncio
import sys
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

import dashboard
from ibex.embedded.probes import http_ok
from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.browser.chromium import browse, find_chromium
from tests.conftest import run_server
from tests.seeding import add_memory

HOSTILE = "<img src=x onerror=\"document.title='taken over'\"> **bold**"


def dashboard_spec(settings: Settings) -> ProcessSpec:
    port = settings.dashboard_port
    app = str(Path(dashboard.__file__).parent / "app.py")
    return ProcessSpec(
        name="dashboard",
        title="Dashboard",
        command=(
            *(sys.executable, "-m", "streamlit", "run", app),
            *("--server.port", str(port), "--server.address", "127.0.0.1"),
        ),
        env={"IBEX_API_URL": settings.api_endpoint},
        port=port,
        ready=partial(http_ok, f"http://127.0.0.1:{port}/_stcore/health"),
    )


def walk(settings: Settings, token: str, profile: Path) -> tuple[str, str]:
    """Sign in, look at the memories; the page's text and the browser's address and title."""
    with browse(profile) as page:
        page.open(f"http://127.0.0.1:{settings.dashboard_port}/memories")
        page.wait_for_text("Access token")
        page.type_into("input[type=password]", token)
        page.evaluate("document.querySelector('input[type=password]').blur()")
        page.click_text("button", "Sign in")
        page.wait_for_text("Memory\n")
        page.wait_for_text("onerror")
        text = page.evaluate("document.body.innerText")
        seen = page.evaluate("location.href + ' ' + document.title + ' ' + document.cookie")
        images = page.evaluate("document.querySelectorAll('img[src=x], strong').length")
        assert images == 0
        return text, seen


@pytest.mark.skipif(find_chromium() is None, reason="chromium is not installed")
async def test_a_token_gets_in_and_what_was_said_stays_text(
    api_server: Settings,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    tmp_path: Path,
) -> None:
    await add_memory(database, org_id, agent_id, HOSTILE)
    token = (await identity.create_token(org_id, "op", scopes=("read", "content"))).text

    def in_a_thread() -> tuple[str, str]:
        # The loop of the test serves the API meanwhile.
        for _ in run_server(dashboard_spec(api_server), tmp_path):
            return walk(api_server, token, tmp_path / "profile")
        raise AssertionError("unreachable")

    text, seen = await asyncio.to_thread(in_a_thread)
    assert HOSTILE in text
    assert "taken over" not in seen
    assert token not in seen
