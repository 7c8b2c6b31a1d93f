"""The command line as it is read: documented, helpful, silent about secrets."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ibex.cli import app
from ibex.settings import Settings

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"
IBEX = Path(sys.executable).parent / "ibex"


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
    else:
        for name, child in children.items():
            yield from leaves(child, f"{path} {name}")


ALL = dict(leaves(typer.main.get_command(app), "ibex"))


def test_every_command_is_documented_and_nothing_else() -> None:
    assert set(re.findall(r"^\| `(ibex [^`]+)`", COMMANDS.read_text(), re.MULTILINE)) == set(ALL)


@pytest.mark.parametrize("path", ALL)
def test_every_command_and_option_says_what_it_is_for(path: str) -> None:
    command = ALL[path]
    assert command.help
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert getattr(parameter, "help", None), parameter.name


def test_settings_are_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBEX_REDIS_PASSWORD", "hunter2hunter2")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter3")
    done = CliRunner().invoke(app, ["settings", "--json"])
    assert done.exit_code == 0
    assert "hunter" not in done.stdout
    shown = json.loads(done.stdout)
    assert set(shown) == {f"IBEX_{name.upper()}" for name in Settings.model_fields}
    assert shown["IBEX_REDIS_PASSWORD"] == "********"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("IBEX_PROXY_PORT", "seventy", "IBEX_PROXY_PORT"),
        ("IBEX_PROXY_PORT", "99999", "IBEX_PROXY_PORT"),
        ("IBEX_PROVIDER_BASE_URL", "ftp://x", "IBEX_PROVIDER_BASE_URL"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    name: str, value: str, said: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [str(IBEX), "settings"],
        env={name: value, "IBEX_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_away_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(IBEX), "org", "create", "x"],
        env={"IBEX_HOME": str(tmp_path), "IBEX_POSTGRES_PORT": "9", "IBEX_REDIS_PORT": "9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "ibex status" in done.stderr
    assert "Traceback" not in done.stderr
