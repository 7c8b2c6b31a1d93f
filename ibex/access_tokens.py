"""Personal access tokens: `ibex_pat_` + id + secret + checksum.

The body after the prefix is base62: 22 characters of token id (a UUID), 43 characters of secret
(32 random bytes) and 6 characters of CRC-32 over everything before them, as GitHub's tokens carry
one: a typing error or a cut token is told apart from an unknown one without a database, and secret
scanners find leaked tokens with few false hits. The database holds only the SHA-256 of the token.

Source of the checksum idea: https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/
"""

import hashlib
import secrets
import zlib
from dataclasses import dataclass, field
from uuid import UUID

from ibex.errors import AuthenticationError

PREFIX = "ibex_pat_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 22, 43, 6
_LENGTH = len(PREFIX) + _ID_LENGTH + _SECRET_LENGTH + _CHECKSUM_LENGTH


@dataclass(frozen=True)
class AccessToken:
    id: UUID
    text: str = field(repr=False)

    @property
    def sha256(self) -> bytes:
        """What the database stores and compares, 32 bytes."""
        return hashlib.sha256(self.text.encode()).digest()


def new_token(token_id: UUID) -> AccessToken:
    body = PREFIX + _encode(token_id.int, _ID_LENGTH)
    body += _encode(int.from_bytes(secrets.token_bytes(32)), _SECRET_LENGTH)
    return AccessToken(token_id, body + _checksum(body))


def parse_token(text: str) -> AccessToken:
    """Raises AuthenticationError when `text` is not a whole, well-formed token."""
    if not text.startswith(PREFIX) or len(text) != _LENGTH:
        raise AuthenticationError("The access token is not an IBEX token.")
    body, checksum = text[:-_CHECKSUM_LENGTH], text[-_CHECKSUM_LENGTH:]
    if not secrets.compare_digest(_checksum(body).encode(), checksum.encode()):
        raise AuthenticationError("The access token is mistyped or cut: its checksum is wrong.")
    try:
        number = _decode(body[len(PREFIX) : len(PREFIX) + _ID_LENGTH])
        return AccessToken(UUID(int=number), text)
    except (KeyError, ValueError):
        raise AuthenticationError("The access token is not an IBEX token.") from None


def _checksum(body: str) -> str:
    return _encode(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _encode(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _decode(text: str) -> int:
    number = 0
    for letter in text:
        number = number * 62 + _VALUES[letter]
    return number
