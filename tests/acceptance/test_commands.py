"""`make demo`, `make e2e-smoke-p3` and `make db-migrate`, as their targets run them."""

import json
import subprocess
import sys

import pytest

from tests.acceptance.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


def test_the_demo_shows_what_was_learned_and_how_to_go_on(stack: Stack) -> None:
    shown = stack.ibex("demo", limit=240).stdout
    assert "sandbox" in shown  # it says that no real model is behind it
    assert "From what I was told: User's database host is db.smoketest.example.com." in shown
    assert "x-ibex-memories-injected: " in shown
    assert "from the session's end to its memories" in shown
    for address in (
        f"{stack.settings.proxy_endpoint}/v1",
        stack.settings.api_endpoint,
        f":{stack.settings.dagster_port}",
        f":{stack.settings.dashboard_port}",
    ):
        assert address in shown
    assert "from openai import OpenAI" in shown
    assert "make down" in shown


def test_the_three_lines_of_the_demo_work(stack: Stack) -> None:
    shown = stack.ibex("demo", limit=240).stdout
    lines = shown[shown.index("from openai import OpenAI") :].splitlines()[:3]
    pasted = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "db.smoketest.example.com" in pasted.stdout


def test_the_smoke_test_ends_with_one_line_of_json(stack: Stack) -> None:
    result = json.loads(stack.ibex("smoke", limit=240).stdout.splitlines()[-1])
    assert result["passed"]
    assert result["turns"] == 10
    assert result["memories"] >= 8
    assert result["injected"] >= 1
    assert result["fallback"] is False
    assert set(result["parts"]) >= {"until_sensor_s", "run_launch_s", "session_facts_s"}


def test_migrating_again_changes_nothing(stack: Stack) -> None:
    stack.ibex("db", "migrate")
    stack.ibex("db", "check")
