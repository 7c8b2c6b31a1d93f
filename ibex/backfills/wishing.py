"""What somebody wants read again, checked: by the command line, the API and Dagster alike."""

from datetime import UTC, datetime
from uuid import UUID

from ibex.backfills.model import Wish
from ibex.errors import InvalidRequestError
from ibex.extraction.prompts import prompt_named
from ibex.settings import Settings


def wish(
    settings: Settings,
    since: datetime,
    until: datetime | None = None,
    *,
    agent_id: UUID | None = None,
    prompt: str | None = None,
    model: str | None = None,
) -> Wish:
    """Times without a zone are UTC. Prompt and model: those that the pipeline uses.

    Raises InvalidRequestError, UnknownPromptError.
    """
    since = since if since.tzinfo else since.replace(tzinfo=UTC)
    if until is not None and until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    if until is not None and until <= since:
        raise InvalidRequestError("The end must come after the start.")
    chosen = prompt_named(settings, prompt)
    return Wish(
        agent_id, since, until, chosen.name, chosen.version, model or settings.extraction_model
    )
