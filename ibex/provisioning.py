"""Makes what an application needs: an organization, an agent with a directive, a token."""

from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from ibex.errors import AgentNotFoundError, AuthenticationError, NotFoundError
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore

ALL_SCOPES = ("chat", "read", "write", "content")


@dataclass(frozen=True)
class Provisioned:
    org_id: UUID
    agent_id: UUID
    agent: str
    token: str = field(repr=False)


async def provision(
    settings: Settings,
    identity: IdentityStore,
    *,
    organization: str,
    agent: str,
    directive: str,
) -> Provisioned:
    """Find or make them. The token is kept in a private file beside the stack's secrets, so that
    the next call finds a valid one again."""
    try:
        org_id = await identity.organization(organization)
    except NotFoundError:
        org_id = await identity.create_organization(organization)
    try:
        agent_id = (await identity.agent(org_id, agent)).id
    except AgentNotFoundError:
        agent_id = await identity.create_agent(org_id, agent)
        await identity.set_directive(org_id, agent_id, directive)
    token = await _token(settings.home / f"{organization}.token", identity, org_id)
    return Provisioned(org_id, agent_id, agent, token)


async def _token(file: Path, identity: IdentityStore, org_id: UUID) -> str:
    if file.exists():
        kept = file.read_text().strip()
        try:
            if (await identity.verify_token(kept)).org_id == org_id:
                return kept
        except AuthenticationError:
            file.unlink()  # of a database that is gone, or revoked
    token = await identity.create_token(org_id, file.stem, scopes=ALL_SCOPES)
    file.touch(mode=0o600)
    file.write_text(f"{token.text}\n")
    return token.text
