"""What must not be lost while the database is away: an append-only log on the local disk.

A folder of segments. Each process appends to a segment of its own, under an exclusive lock that
tells the others that it lives; whoever holds `drain.lock` empties all of them, the dead ones' as
well. A record is

    magic 4 · time u64 (ns) · length of the key u16 · length of the payload u32 · CRC-32 u32 · key ·
    payload

little-endian, the CRC over all of it but the magic. It counts once `append` has returned: then it
is on the disk. A record that was torn by a crash was never acknowledged and is skipped. What is
drained twice (the process died in between) must change nothing the second time.
"""

import asyncio
import fcntl
import heapq
import logging
import os
import struct
import time
import zlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from ibex.errors import DatabaseUnavailableError, IbexError, SpoolFullError
from ibex.ids import new_id
from ibex.metrics import counter

_log = logging.getLogger("ibex.spool")
_DRAINED: Final = counter("ibex_spool_drained_total", "Spooled turns that were stored after all.")
_REFUSED: Final = counter(
    "ibex_spool_refused_total", "Turns that found no room in the spool, or a disk that failed."
)
_REJECTED: Final = counter(
    "ibex_spool_rejected_total", "Spooled turns that can never be stored, kept aside."
)
_TORN: Final = counter(
    "ibex_spool_torn_total", "Segments with a record that a crash cut off or a disk damaged."
)

_MAGIC: Final = b"IBS1"
_HEAD: Final = struct.Struct("<4sQHII")
_SUFFIX: Final = ".spool"
_SEGMENT: Final = 8 * 2**20  # bytes from which on a new segment is begun
_FREE: Final = 32 * 2**20  # bytes that must be left on the disk
_HEADROOM: Final = 16 * 2**20  # bytes kept for requests under way, at most an eighth of the limit
_AFTER_FAILURE: Final = 1.0  # seconds until a disk that failed is tried again
_SETTLED: Final = 50_000_000  # nanoseconds after which a folder's time of change can be believed

Drain = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Waiting:
    """What is to be drained, of all processes."""

    records: int
    bytes: int  # on the disk
    oldest_age: float  # seconds; 0 when nothing waits


@dataclass(frozen=True)
class SpoolStatus:
    """For /ready."""

    pending: int  # records of all processes
    bytes: int  # on the disk
    oldest_age: float  # seconds; 0 when nothing is pending
    spooled: int  # by this process
    drained: int  # by this process
    rejected: int  # records that could not be stored, kept aside
    torn: int  # segments with a record that a crash cut off or a disk damaged
    accepts: bool  # there is room for more


@dataclass(frozen=True)
class Record:
    start: int
    offset: int  # where it ends
    time: int  # nanoseconds
    key: str
    payload: bytes = field(repr=False)


@dataclass
class _Segment:
    """What this process knows about one file."""

    path: Path
    size: int = 0  # as far as its records are known
    drained: int = 0
    damaged: bool = False  # between two whole records
    keys: Counter[str] = field(default_factory=Counter)
    times: deque[int] = field(default_factory=deque)

    def add(self, end: int, key: str, moment: int) -> None:
        self.size = end
        self.keys[key] += 1
        self.times.append(moment)

    def remove(self, record: Record) -> None:
        self.damaged = self.damaged or record.start != self.drained
        self.drained = record.offset
        self.keys -= Counter((record.key,))
        if self.times:
            self.times.popleft()


def encode(key: str, payload: bytes, moment: int) -> bytes:
    """One record. Raises ValueError for a key above 65,535 bytes."""
    name = key.encode()
    if len(name) > 0xFFFF:
        raise ValueError("The key is too long.")
    numbers = struct.pack("<QHI", moment, len(name), len(payload))
    crc = zlib.crc32(payload, zlib.crc32(name, zlib.crc32(numbers)))
    return b"".join((_MAGIC, numbers, struct.pack("<I", crc), name, payload))


def read_records(file: BinaryIO, offset: int = 0) -> Iterator[Record]:
    """The whole records from `offset` on; what is torn or damaged between them is left out."""
    while True:
        file.seek(offset)
        record = _read_one(file, offset)
        if record is None:
            place = _next_whole(file, offset + 1)
            if place is None:
                return
            offset = place
            continue
        yield record
        offset = record.offset


def _read_one(file: BinaryIO, offset: int) -> Record | None:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, moment, name_length, length, crc = _HEAD.unpack(head)
    if magic != _MAGIC:
        return None
    left = os.fstat(file.fileno()).st_size - offset - _HEAD.size
    if name_length + length > left:
        return None
    name, payload = file.read(name_length), file.read(length)
    if zlib.crc32(payload, zlib.crc32(name, zlib.crc32(head[4:18]))) != crc:
        return None
    end = offset + _HEAD.size + name_length + length
    return Record(offset, end, moment, name.decode(), payload)


def _next_whole(file: BinaryIO, offset: int) -> int | None:
    """Where the next whole record begins."""
    file.seek(offset)
    rest = file.read()
    place = rest.find(_MAGIC)
    while place >= 0:
        file.seek(offset + place)
        if _read_one(file, offset + place) is not None:
            return offset + place
        place = rest.find(_MAGIC, place + 1)
    return None


class Spool:
    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segments: dict[str, _Segment] = {}
        self._own: tuple[int, _Segment] | None = None  # file descriptor and segment
        self._full = False  # the next write begins a new segment
        self._looked_at = 0  # the folder's time of change
        self._waiting: list[tuple[str, bytes, int, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None  # one batch of it
        self._failed_at = -_AFTER_FAILURE
        self._spooled = self._drained = self._rejected = self._torn = 0

    # --- into it ---

    async def append(self, key: str, payload: bytes) -> None:
        """Returns when the record is on the disk. Raises SpoolFullError."""
        self._look()
        moment = time.time_ns()
        record = encode(key, payload, moment)
        waiting = sum(len(one[1]) for one in self._waiting)
        if self._bytes() + waiting + len(record) > self._max_bytes:
            _REFUSED.inc()
            raise SpoolFullError
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((key, record, moment, written))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await written

    def holds(self, key: str) -> bool:
        """A record with this key is still to be drained, or being written."""
        self._look()
        return any(segment.keys[key] for segment in self._segments.values()) or any(
            one[0] == key for one in self._waiting
        )

    def accepts(self) -> bool:
        """There is room for more, as far as can be told before it is written."""
        self._look()
        headroom = min(_HEADROOM, self._max_bytes // 8)
        if time.monotonic() - self._failed_at < _AFTER_FAILURE:
            return False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._bytes() + headroom <= self._max_bytes and self._free() > _FREE
        except OSError:
            return False

    @property
    def empty(self) -> bool:
        self._look()
        return not self._waiting and not any(one.times for one in self._segments.values())

    def waiting(self) -> Waiting:
        self._look()
        times = [segment.times[0] for segment in self._segments.values() if segment.times]
        return Waiting(
            records=sum(len(segment.times) for segment in self._segments.values()),
            bytes=self._bytes(),
            oldest_age=max(0.0, (time.time_ns() - min(times)) / 1e9) if times else 0.0,
        )

    def status(self) -> SpoolStatus:
        waiting = self.waiting()
        return SpoolStatus(
            pending=waiting.records,
            bytes=waiting.bytes,
            oldest_age=waiting.oldest_age,
            spooled=self._spooled,
            drained=self._drained,
            rejected=self._rejected,
            torn=self._torn,
            accepts=self.accepts(),
        )

    async def close(self) -> None:
        """Whoever looks next may empty what is left."""
        if self._flushing is not None:
            await asyncio.wait({self._flushing})
        self._seal()

    async def _flush(self) -> None:
        """Everything that waits in one write and one fsync, again and again."""
        try:
            while self._waiting:
                batch = list(self._waiting)
                try:
                    descriptor, segment = self._writable()
                    data = b"".join(record for _, record, _, _ in batch)
                    self._writing = asyncio.create_task(asyncio.to_thread(_write, descriptor, data))
                    await self._writing
                except OSError as error:
                    self._failed_at = time.monotonic()
                    _log.error("the spool cannot be written: %s", type(error).__name__)
                    self._seal()  # what was half written ends this segment
                    _REFUSED.inc(len(batch))
                    self._answer(batch, SpoolFullError("The spool cannot be written."))
                    continue
                for key, record, moment, _ in batch:
                    segment.add(segment.size + len(record), key, moment)
                self._spooled += len(batch)
                self._answer(batch, None)
        finally:
            self._flushing = None

    def _answer(
        self,
        batch: list[tuple[str, bytes, int, asyncio.Future[None]]],
        error: SpoolFullError | None,
    ) -> None:
        del self._waiting[: len(batch)]
        for *_, written in batch:
            if written.done():
                continue
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)

    def _writable(self) -> tuple[int, _Segment]:
        if self._own is not None and (self._full or self._own[1].size >= _SEGMENT):
            self._seal()
        self._full = False
        if self._own is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / f"{new_id().hex}{_SUFFIX}"
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _sync_folder(self._folder)
            self._own = descriptor, self._segments.setdefault(path.name, _Segment(path))
        return self._own

    def _seal(self) -> None:
        if self._own is not None:
            os.close(self._own[0])
            self._own = None

    # --- out of it ---

    async def drain(self, store: Drain) -> bool:
        """Hand every record to `store`, in order of time, and forget it.

        False: nothing was taken out, or another process is at it. A record for which `store` raises
        anything but DatabaseUnavailableError is kept aside. Raises DatabaseUnavailableError.
        """
        if self.empty and not self._segments:
            return False
        taken = False
        with self._draining() as mine:
            if not mine:
                return False
            if self._writing is not None and not self._writing.done():
                self._full = True  # what comes after this batch goes into another segment
                await asyncio.wait({self._writing})
            if self._flushing is None:
                self._seal()
            self._look(again=True)
            files = {segment.path: segment.path.open("rb") for segment in self._sealed()}
            try:
                rests = [self._rest(path, file) for path, file in files.items()]
                for record, segment in heapq.merge(*rests, key=lambda one: one[0].time):
                    await self._store(store, record)
                    segment.remove(record)
                    taken = True
                for path, file in files.items():
                    self._finish(path, file)
            finally:
                for file in files.values():
                    file.close()
        return taken

    def _sealed(self) -> list[_Segment]:
        """And those that other processes write to: what is whole in them can be read."""
        own = self._own[1] if self._own else None
        return [one for one in self._segments.values() if one is not own]

    def _rest(self, path: Path, file: BinaryIO) -> Iterator[tuple[Record, _Segment]]:
        segment = self._segments[path.name]
        for record in read_records(file, segment.drained):
            if record.offset > segment.size:
                segment.add(record.offset, record.key, record.time)
            yield record, segment

    async def _store(self, store: Drain, record: Record) -> None:
        try:
            await store(record.payload)
        except DatabaseUnavailableError:
            raise
        except (IbexError, ValueError, TypeError, LookupError) as error:
            self._rejected += 1
            _REJECTED.inc()
            _log.error("a spooled record is kept aside: %s", type(error).__name__)
            await asyncio.to_thread(self._keep_aside, record)
        else:
            self._drained += 1
            _DRAINED.inc()

    def _keep_aside(self, record: Record) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._folder / "rejected", flags, 0o600)
        try:
            _write(descriptor, encode(record.key, record.payload, record.time))
        finally:
            os.close(descriptor)

    def _finish(self, path: Path, file: BinaryIO) -> None:
        """Remove a segment that is drained, unless its process still writes to it."""
        segment = self._segments[path.name]
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if next(read_records(file, segment.drained), None) is not None:
            return  # written since, just before its process let go of it
        if segment.damaged or os.fstat(file.fileno()).st_size > segment.drained:
            self._torn += 1
            _TORN.inc()
            _log.warning("the spool had a record that is not whole")
        if segment.damaged:
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink(missing_ok=True)
        self._segments.pop(path.name, None)

    @contextmanager
    def _draining(self) -> Iterator[bool]:
        descriptor = os.open(
            self._folder / "drain.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(descriptor)

    # --- what the disk says ---

    def _look(self, *, again: bool = False) -> None:
        """See the segments of other processes, those left behind by dead ones as well."""
        try:
            self._see(again=again)
        except FileNotFoundError:
            return
        except OSError:
            self._failed_at = time.monotonic()

    def _see(self, *, again: bool) -> None:
        changed = self._folder.stat().st_mtime_ns
        own = self._own[1] if self._own else None
        others = [one for one in self._segments.values() if one is not own]
        if changed == self._looked_at and not others and not again:
            return
        names = {path.name for path in self._folder.iterdir() if path.suffix == _SUFFIX}
        for name in set(self._segments) - names:
            del self._segments[name]
        for name in names:
            segment = self._segments.setdefault(name, _Segment(self._folder / name))
            if segment is not own:
                self._scan(segment)
        self._looked_at = changed if time.time_ns() - changed > _SETTLED else 0

    @staticmethod
    def _scan(segment: _Segment) -> None:
        try:
            if segment.path.stat().st_size <= segment.size:
                return
            with segment.path.open("rb") as file:
                for record in read_records(file, segment.size):
                    segment.add(record.offset, record.key, record.time)
        except FileNotFoundError:
            return

    def _bytes(self) -> int:
        return sum(segment.size for segment in self._segments.values())

    def _free(self) -> int:
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
