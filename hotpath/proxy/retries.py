"""What a client says about having sent the same request before."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    retried: bool = False  # x-stainless-retry-count above 0, as OpenAI's clients count
    key: bytes | None = None  # of the Idempotency-Key, SHA-256

    @property
    def signs(self) -> bool:
        return self.retried or self.key is not None


def read_retry(headers: Mapping[str, str]) -> Retry:
    """`headers` by lower-case name."""
    count = headers.get("x-stainless-retry-count", "").strip()
    key = headers.get("idempotency-key", "").strip()
    return Retry(
        retried=count.isascii() and count.isdecimal() and int(count[:9]) > 0,
        key=hashlib.sha256(key.encode()).digest() if key else None,
    )
