"""Compressed bodies: everything honest comes out whole, nothing costs more than the cap."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from hotpath.proxy.decompression import BodyUnpacker
from ibex.errors import InvalidRequestError, RequestTooLargeError, UnsupportedEncodingError

LIMIT = 1_000_000
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    " ZSTD ": zstd.compress,
}


def unpack(encoding: str, *chunks: bytes, limit: int = LIMIT) -> bytes:
    unpacker = BodyUnpacker(encoding, limit)
    for chunk in chunks:
        for _ in unpacker.feed(chunk):
            pass
    return unpacker.whole()


@given(
    body=st.binary(max_size=2_000).flatmap(lambda one: st.sampled_from([one, one * 500])),
    encoding=st.sampled_from(sorted(PACK)),
    size=st.integers(1, 700),
)
def test_a_body_comes_out_as_it_was_however_it_is_cut(
    body: bytes, encoding: str, size: int
) -> None:
    packed = PACK[encoding](body)
    chunks = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert unpack(encoding, *chunks) == body


@pytest.mark.parametrize("encoding", sorted(PACK))
def test_the_cap_is_on_what_comes_out(encoding: str) -> None:
    assert unpack(encoding, PACK[encoding](bytes(LIMIT))) == bytes(LIMIT)
    with pytest.raises(RequestTooLargeError):
        unpack(encoding, PACK[encoding](bytes(LIMIT + 1)))


@pytest.mark.parametrize("encoding", sorted(PACK))
def test_a_bomb_costs_no_more_than_the_cap(encoding: str) -> None:
    bomb = PACK[encoding](bytes(200_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(RequestTooLargeError):
            unpack(encoding, bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("encoding", sorted(PACK))
@pytest.mark.parametrize("body", [b"", b"x" * 10_000])
def test_what_is_not_of_the_encoding_is_refused(encoding: str, body: bytes) -> None:
    packed = PACK[encoding](body)
    other = PACK["gzip" if "ZSTD" in encoding else " ZSTD "](body)
    wrong: list[list[bytes]] = [[], [b""], [b"{}"], [zlib.compress(body)], [other]]
    wrong += [[packed[:-1]], [packed + b"x"], [packed, b"x"], [packed + packed], [packed, packed]]
    for chunks in wrong:
        with pytest.raises(InvalidRequestError):
            unpack(encoding, *chunks)


def test_a_window_that_costs_memory_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    packer = zstd.ZstdCompressor(options=options)
    with pytest.raises(InvalidRequestError):
        unpack("zstd", packer.compress(b"x" * 1_000) + packer.flush())


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "compress", "?"])
def test_other_encodings_are_415(encoding: str) -> None:
    with pytest.raises(UnsupportedEncodingError) as caught:
        BodyUnpacker(encoding, LIMIT)
    assert caught.value.status == 415
