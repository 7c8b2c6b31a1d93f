"""What `make` does without being asked."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def planned(target: str, environment: Path) -> str:
    done = subprocess.run(
        ["make", "--dry-run", target, f"VENV={environment}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def test_generating_messages_leaves_an_environment_as_it_is(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    assert "setup" in planned("proto", tmp_path)
    python.parent.mkdir()
    python.touch()
    assert "setup" not in planned("proto", tmp_path)
    assert "protoc" in planned("proto", tmp_path)
