import os
from pathlib import Path

from ibex.embedded.state import (
    Identity,
    ProcessRecord,
    StackState,
    read_state,
    remove_state,
    state_file,
    write_state,
)


def example() -> StackState:
    itself = Identity.of(os.getpid())
    assert itself is not None
    record = ProcessRecord(
        name="redis",
        title="Redis",
        address="127.0.0.1:1",
        port=1,
        once=False,
        stop_signal=15,
        stop_timeout=3.0,
        state="ready",
        process=itself,
    )
    return StackState(itself, "2026-01-01T00:00:00+00:00", (record,))


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_state(tmp_path, example())
    assert read_state(tmp_path) == example()
    assert state_file(tmp_path).stat().st_mode & 0o077 == 0
    remove_state(tmp_path)
    remove_state(tmp_path)
    assert read_state(tmp_path) is None


def test_a_file_that_cannot_be_read_is_no_state(tmp_path: Path) -> None:
    state_file(tmp_path).parent.mkdir()
    for text in ("", "{", "[]", '{"supervisor": {}}'):
        state_file(tmp_path).write_text(text)
        assert read_state(tmp_path) is None


def test_a_process_is_known_by_pid_and_creation_time() -> None:
    itself = Identity.of(os.getpid())
    assert itself is not None
    assert itself.running() is not None
    assert Identity(itself.pid, itself.create_time - 60).running() is None
    assert Identity.of(2**22 + 1) is None
