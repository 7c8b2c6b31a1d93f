"""Compressed request bodies, unpacked as they arrive and never beyond the cap.

A bomb costs no more than a body of the largest size: unpacking stops soon after the first byte too
many. One gzip member or one zstd frame is a body; what follows it is refused, so that countless
empty members do not cost a moment each. The window of zstd is limited to 8 MiB (RFC 9659).
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from ibex.errors import InvalidRequestError, RequestTooLargeError, UnsupportedEncodingError

_PIECE: Final = 256 * 1024  # bytes unpacked at a time
_WINDOW_LOG: Final = 23


class _Unpacker(Protocol):
    @property
    def ended(self) -> bool:
        """The body is whole."""

    @property
    def has_rest(self) -> bool:
        """Something follows the end of the body."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces. Raises ValueError."""


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    @property
    def has_rest(self) -> bool:
        return bool(self._stream.unused_data)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            while True:
                piece = self._stream.decompress(data, _PIECE)
                yield piece
                data = self._stream.unconsumed_tail
                if self._stream.eof or (not data and len(piece) < _PIECE):
                    return
        except zlib.error:
            raise ValueError from None


class _Zstd:
    def __init__(self) -> None:
        self._stream = ZstdDecompressor(
            options={DecompressionParameter.window_log_max: _WINDOW_LOG}
        )

    @property
    def ended(self) -> bool:
        return self._stream.eof

    @property
    def has_rest(self) -> bool:
        return self._stream.eof and bool(self._stream.unused_data)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            yield self._stream.decompress(data, _PIECE)
            while not (self._stream.eof or self._stream.needs_input):
                yield self._stream.decompress(b"", _PIECE)
        except ZstdError:
            raise ValueError from None


_UNPACKERS: Final[dict[str, Callable[[], _Unpacker]]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,  # RFC 9110, section 8.4.1.3
    "zstd": _Zstd,
}
ACCEPTED: Final = "gzip, zstd"


class BodyUnpacker:
    def __init__(self, encoding: str, limit: int) -> None:
        """`encoding` is the content-encoding, `limit` the unpacked bytes at most.

        Raises UnsupportedEncodingError.
        """
        wanted = encoding.strip().lower()
        if wanted not in _UNPACKERS:
            raise UnsupportedEncodingError
        self._unpacker = _UNPACKERS[wanted]()
        self._limit = limit
        self._body = bytearray()

    def feed(self, data: bytes) -> Iterator[None]:
        """Unpack `data`, a piece at a time, so that the caller may do other things in between.

        Raises InvalidRequestError for what is not of this encoding, RequestTooLargeError.
        """
        if self._unpacker.ended and data:
            raise InvalidRequestError("Something follows the compressed request body.")
        try:
            for piece in self._unpacker.pieces(data):
                self._body += piece
                if len(self._body) > self._limit:
                    raise RequestTooLargeError(
                        f"The request body unpacks to more than {self._limit} bytes."
                    )
                yield
        except ValueError:
            raise InvalidRequestError(
                "The request body is not what its content-encoding says."
            ) from None
        if self._unpacker.has_rest:
            raise InvalidRequestError("Something follows the compressed request body.")

    def whole(self) -> bytes:
        """Raises InvalidRequestError when the end is missing."""
        if not self._unpacker.ended:
            raise InvalidRequestError("The compressed request body breaks off.")
        return bytes(self._body)
