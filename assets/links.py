"""Links from Dagster to where operators look."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from dagster import MarkdownMetadataValue, MetadataValue

from ibex.settings import Settings

_SHOWN: Final = 20


def session_links(settings: Settings, sessions: Iterable[UUID]) -> MarkdownMetadataValue:
    """To the first twenty of these sessions in the dashboard."""
    listed = list(dict.fromkeys(sessions))
    lines = [
        f"- [{one}]({settings.dashboard_endpoint}/sessions?session={one})"
        for one in listed[:_SHOWN]
    ]
    if len(listed) > _SHOWN:
        lines.append(f"- and {len(listed) - _SHOWN} more")
    return MetadataValue.md("\n".join(lines) or "none")
