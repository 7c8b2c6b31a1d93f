"""Identifiers: UUIDv7, so that primary keys follow time (RFC 9562, section 5.7)."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()


def parse_id(text: str) -> UUID | None:
    """The UUID that `text` spells, or None when it spells none."""
    try:
        return UUID(text)
    except ValueError:
        return None
