import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ibex.cli import app
from ibex.embedded import log_files
from ibex.embedded.lifecycle import follow_logs
from ibex.embedded.log_files import last_lines, log_file, new_lines, open_log
from ibex.errors import EmbeddedServerError
from ibex.settings import Settings


def write(home: Path, name: str, text: str) -> None:
    with open_log(home, name) as log:
        log.write(text.encode())


def test_a_large_log_makes_room_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "_ROTATE_AT", 10)
    write(tmp_path, "api", "0123456789")
    write(tmp_path, "api", "+\n")
    assert last_lines(tmp_path, "api", 5) == ["0123456789+"]
    write(tmp_path, "api", "fresh\n")
    assert last_lines(tmp_path, "api", 5) == ["fresh"]
    assert (tmp_path / "logs" / "api.log.1").read_text() == "0123456789+\n"
    assert log_file(tmp_path, "api").stat().st_mode & 0o077 == 0


def test_new_lines_come_whole_and_survive_a_rotation(tmp_path: Path) -> None:
    write(tmp_path, "api", "before\n")
    lines = new_lines(tmp_path, ["api", "proxy"])
    writer = threading.Timer(0.1, write, (tmp_path, "proxy", "hello\nhalf"))
    writer.start()
    assert next(lines) == ("proxy", "hello")
    write(tmp_path, "proxy", " a line\n")
    assert next(lines) == ("proxy", "half a line")
    log_file(tmp_path, "proxy").write_text("new\n")
    assert next(lines) == ("proxy", "new")


def test_logs_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(home=tmp_path)
    write(tmp_path, "api", "a\nb\n")
    write(tmp_path, "proxy", "c\n")
    follow_logs(settings, None, follow=False, lines=1)
    assert capsys.readouterr().out == "api   | b\nproxy | c\n"
    follow_logs(settings, "api", follow=False, lines=9)
    assert capsys.readouterr().out == "a\nb\n"
    with pytest.raises(EmbeddedServerError) as failed:
        follow_logs(settings, "apis", follow=False, lines=1)
    assert "api, proxy" in failed.value.advice


def test_the_command_shows_as_many_lines_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IBEX_HOME", str(tmp_path))
    write(tmp_path, "api", "".join(f"{number}\n" for number in range(30)))
    for words, first in (([], 10), (["-n", "2"], 28), (["--lines", "0"], 30)):
        done = CliRunner().invoke(app, ["logs", "api", *words])
        assert done.exit_code == 0
        assert done.stdout.split() == [str(number) for number in range(first, 30)]
