"""The spool: nothing acknowledged is lost, wherever a crash cuts the file."""

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex import spool as module
from ibex.errors import DatabaseUnavailableError, NotFoundError, SpoolFullError
from ibex.spool import Spool, encode, read_records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Spool:
    return Spool(folder, 2**20)


class Store:
    """Takes what it gets, until it is told to fail."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.error: Exception | None = None
        self.after = 0  # how many it still takes before it fails

    async def __call__(self, payload: bytes) -> None:
        if self.error is not None and len(self.got) >= self.after:
            raise self.error
        self.got.append(payload)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


async def drained(folder: Path) -> list[bytes]:
    """What a process finds that starts now."""
    store = Store()
    await Spool(folder, 2**20).drain(store)
    return store.got


async def test_what_is_appended_is_drained_in_order_and_gone(folder: Path, spool: Spool) -> None:
    assert spool.empty
    assert spool.accepts()
    payloads = [f"{number}".encode() for number in range(20)]
    await asyncio.gather(*(spool.append("s", payload) for payload in payloads))
    assert spool.holds("s")
    assert not spool.holds("t")
    status = spool.status()
    assert (status.pending, status.spooled, status.drained) == (20, 20, 0)
    assert status.oldest_age > 0
    assert status.bytes == sum(path.stat().st_size for path in segments(folder))
    store = Store()
    assert await spool.drain(store)
    assert store.got == payloads
    assert spool.empty
    assert not spool.holds("s")
    status = spool.status()
    assert (status.pending, status.bytes, status.oldest_age, status.drained) == (0, 0, 0.0, 20)
    assert segments(folder) == []


async def test_only_its_owner_may_read_it(folder: Path, spool: Spool) -> None:
    await spool.append("s", b"x")
    (segment,) = segments(folder)
    assert segment.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_a_record_torn_at_any_byte_costs_itself_and_nothing_else(folder: Path) -> None:
    first, second, third = (encode("s", b"x" * n, n) for n in (1, 2, 3))
    whole = first + second + third
    folder.mkdir()
    for cut in range(len(whole) + 1):
        (folder / "1.spool").write_bytes(whole[:cut])
        ends = [len(first), len(first) + len(second), len(whole)]
        expected = [b"x" * (n + 1) for n, end in enumerate(ends) if end <= cut]
        assert await drained(folder) == expected
        assert segments(folder) == []


async def test_a_damaged_record_costs_itself_and_the_file_is_kept(folder: Path) -> None:
    records = [encode("s", b"payload", number) for number in range(3)]
    start = len(records[0])
    folder.mkdir()
    for place in range(start, start + len(records[1])):
        data = bytearray(b"".join(records))
        data[place] ^= 0x40
        (folder / "1.spool").write_bytes(data)
        assert await drained(folder) == [b"payload"] * 2
        assert segments(folder) == []
        (folder / "1.damaged").unlink()


@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=50)), max_size=5), st.binary())
def test_records_are_read_as_they_were_written(
    records: Sequence[tuple[str, bytes]], torn: bytes
) -> None:
    data = b"".join(encode(key, payload, 7) for key, payload in records)
    with TemporaryFile() as file:
        file.write(data + torn)
        file.flush()
        read = [(record.key, record.payload) for record in read_records(file)]
    assert read == list(records)


async def test_a_database_that_goes_away_again_loses_nothing(folder: Path, spool: Spool) -> None:
    for number in range(5):
        await spool.append("s", b"%d" % number)
    store = Store()
    store.error, store.after = DatabaseUnavailableError(), 2
    with pytest.raises(DatabaseUnavailableError):
        await spool.drain(store)
    assert spool.status().pending == 3
    await spool.append("s", b"5")
    store.error = None
    assert await spool.drain(store)
    assert store.got == [b"%d" % number for number in range(6)]
    assert segments(folder) == []


async def test_what_cannot_be_stored_is_kept_aside_and_holds_nobody_up(
    folder: Path, spool: Spool
) -> None:
    async def store(payload: bytes) -> None:
        if payload == b"bad":
            raise NotFoundError

    await spool.append("s", b"bad")
    await spool.append("s", b"good")
    assert await spool.drain(store)
    status = spool.status()
    assert (status.drained, status.rejected, status.pending) == (1, 1, 0)
    with (folder / "rejected").open("rb") as file:
        assert [record.payload for record in read_records(file)] == [b"bad"]


async def test_a_full_spool_refuses_and_says_so_before(folder: Path) -> None:
    spool = Spool(folder, 1000)
    assert spool.accepts()
    await spool.append("s", b"x" * 900)
    assert not spool.accepts()
    assert not spool.status().accepts
    with pytest.raises(SpoolFullError):
        await spool.append("s", b"x" * 100)
    assert await spool.drain(Store())
    assert spool.accepts()
    await spool.append("s", b"x" * 900)


async def test_a_full_disk_refuses_and_loses_nothing_before(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spool.append("s", b"first")
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        real(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SpoolFullError):
        await spool.append("s", b"second")
    assert not spool.accepts()
    monkeypatch.undo()
    await spool.append("s", b"third")
    store = Store()
    assert await spool.drain(store)
    assert store.got == [b"first", b"third"]


async def test_a_disk_without_room_is_not_accepting(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_free", lambda: 1000)
    assert not spool.accepts()


async def test_processes_see_and_drain_each_others_records(folder: Path) -> None:
    one, two = Spool(folder, 2**20), Spool(folder, 2**20)
    assert two.empty
    for number in range(4):
        await (one, two)[number % 2].append("s", b"%d" % number)
    assert one.holds("s")
    assert two.status().pending == one.status().pending == 4
    store = Store()
    assert await two.drain(store)
    assert store.got == [b"0", b"1", b"2", b"3"]
    # The other still has its segment open and goes on with it.
    await one.append("s", b"4")
    assert await two.drain(store)
    assert store.got[-1] == b"4"
    await one.close()
    assert not await two.drain(store)
    assert segments(folder) == []
    assert len(store.got) == 5


async def test_one_process_drains_at_a_time(folder: Path) -> None:
    one, two = Spool(folder, 2**20), Spool(folder, 2**20)
    await one.append("s", b"x")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: bytes) -> None:
        begun.set()
        await go_on.wait()

    draining = asyncio.create_task(one.drain(slow))
    await begun.wait()
    store = Store()
    assert not await two.drain(store)
    assert store.got == []
    go_on.set()
    assert await draining
    assert two.empty


async def test_what_is_appended_while_it_is_drained_is_not_lost(folder: Path, spool: Spool) -> None:
    got: list[bytes] = []

    async def store(payload: bytes) -> None:
        got.append(payload)
        if len(got) < 50:
            await spool.append("s", b"%d" % len(got))

    await spool.append("s", b"0")
    while not spool.empty:
        assert await spool.drain(store)
    assert got == [b"%d" % number for number in range(50)]
    assert segments(folder) == []


@pytest.mark.timeout(20)
async def test_whoever_drains_lets_what_is_being_written_be_written(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, write = threading.Event(), threading.Event(), module._write

    def slow(descriptor: int, data: bytes) -> None:
        begun.set()
        go_on.wait(10)
        write(descriptor, data)

    async def drain() -> None:
        while not spool.empty and await spool.drain(store):
            pass

    monkeypatch.setattr(module, "_write", slow)
    store = Store()
    appending = asyncio.create_task(spool.append("s", b"0"))
    await asyncio.to_thread(begun.wait, 10)
    draining = asyncio.create_task(drain())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(go_on.set)
    await asyncio.gather(appending, draining)
    assert store.got == [b"0"]
    assert spool.empty


async def test_a_large_spool_has_several_segments(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SEGMENT", 100)
    payloads = [b"%03d" % number * 20 for number in range(10)]
    for payload in payloads:
        await spool.append("s", payload)
    assert len(segments(folder)) > 3
    await spool.close()
    assert await drained(folder) == payloads
