"""Injections joined with what their memories say now."""

from collections.abc import Mapping
from uuid import UUID

from api.auth import Caller
from api.schemas.injections import Injection
from api.services import Services
from ibex.stores.management import InjectionRecord


async def describe_injections(
    services: Services, caller: Caller, records: Mapping[str, InjectionRecord]
) -> dict[str, Injection]:
    """By the same keys; the texts of all their memories in one query."""
    ids = {UUID(memory["memory_id"]) for record in records.values() for memory in record.memories}
    texts = await services.management.memory_texts(caller.org_id, list(ids)) if ids else {}
    return {
        key: Injection.of(record, texts, with_content=caller.sees_content)
        for key, record in records.items()
    }
