"""What IBEX's own request headers ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ibex.errors import InvalidRequestError
from ibex.providers import is_key

_LONGEST = 200  # characters


class MemorySwitch(StrEnum):
    """X-IBEX-Memory."""

    ON = "on"
    READ_ONLY = "read-only"  # memories are injected, nothing is recorded
    WRITE_ONLY = "write-only"  # the turn is recorded, nothing is injected
    OFF = "off"

    @property
    def reads(self) -> bool:
        return self in (MemorySwitch.ON, MemorySwitch.READ_ONLY)

    @property
    def writes(self) -> bool:
        return self in (MemorySwitch.ON, MemorySwitch.WRITE_ONLY)


@dataclass(frozen=True)
class Wishes:
    agent: str | None  # X-IBEX-Agent-ID: id or name
    session: str | None  # X-IBEX-Session-ID: the application's id, or ours
    user: str | None  # X-IBEX-User-ID: the application's id
    memory: MemorySwitch
    # X-IBEX-Provider-Key: the caller's own, for the agent's provider; used once, kept nowhere
    provider_key: str | None = field(default=None, repr=False)


def read_wishes(headers: Mapping[str, str]) -> Wishes:
    """`headers` by lower-case name. Raises InvalidRequestError."""
    switch = headers.get("x-ibex-memory", "").strip().lower() or MemorySwitch.ON
    try:
        memory = MemorySwitch(switch)
    except ValueError:
        raise InvalidRequestError(
            "X-IBEX-Memory is none of on, read-only, write-only, off."
        ) from None
    return Wishes(
        agent=_name(headers, "X-IBEX-Agent-ID"),
        session=_name(headers, "X-IBEX-Session-ID"),
        user=_name(headers, "X-IBEX-User-ID"),
        memory=memory,
        provider_key=_provider_key(headers),
    )


def _provider_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get("x-ibex-provider-key", "").strip()
    if key and not is_key(key):
        raise InvalidRequestError("X-IBEX-Provider-Key is not a key.")
    return key or None


def _name(headers: Mapping[str, str], header: str) -> str | None:
    value = headers.get(header.lower(), "").strip()
    if len(value) > _LONGEST or not value.isprintable():
        raise InvalidRequestError(f"{header} is not at most {_LONGEST} printable characters.")
    return value or None
