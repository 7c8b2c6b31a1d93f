"""For which agent: from an LRU, else from the Auth service, and without it from PostgreSQL."""

from typing import Final
from uuid import UUID

from hotpath.proxy.lookup import Lookup
from ibex.errors import AssemblerUnavailableError, InvalidRequestError, PermissionDeniedError
from ibex.rpc import AuthClient, VerifiedAgent, VerifiedToken
from ibex.stores.identity import IdentityStore

_AGENTS: Final = 10_000


class AgentVerifier:
    def __init__(self, client: AuthClient, identity: IdentityStore, ttl: float) -> None:
        """`ttl` in seconds: how long an agent is believed to be as it was."""
        self._client = client
        self._identity = identity
        self._verified: Lookup[tuple[UUID, str], VerifiedAgent] = Lookup(_AGENTS, ttl)

    async def verify(self, token: VerifiedToken, named: str | None) -> VerifiedAgent:
        """`named` is an id or a name; a token that is bound to an agent needs none.

        Raises AgentNotFoundError, PermissionDeniedError for a suspended agent or one that the
        token is not for, InvalidRequestError when no agent is named, or DependencyError.
        """
        wanted = named or (str(token.agent_id) if token.agent_id else None)
        if wanted is None:
            raise InvalidRequestError(
                "The request names no agent.",
                hint="Send its id or name in X-IBEX-Agent-ID, or use a token bound to an agent.",
            )
        agent = await self._verified.get(
            (token.org_id, wanted), lambda: self._ask(token.org_id, wanted)
        )
        if token.agent_id is not None and agent.id != token.agent_id:
            raise PermissionDeniedError(
                "The access token is bound to another agent.",
                hint="Leave X-IBEX-Agent-ID out, or use a token for this agent.",
            )
        return agent

    def forget(self, agent_id: UUID | None = None) -> None:
        """What was said about this agent, or about all of them, is not true any more."""
        self._verified.forget(None if agent_id is None else lambda one: one.id == agent_id)

    async def _ask(self, org_id: UUID, agent: str) -> VerifiedAgent:
        try:
            return await self._client.verify_agent(org_id, agent)
        except AssemblerUnavailableError:
            found = await self._identity.agent(org_id, agent)
        if found.status != "active":
            raise PermissionDeniedError(f"The agent is {found.status}.")
        policy = found.policy
        return VerifiedAgent(
            id=found.id,
            name=found.name,
            default_model=policy.default_model,
            allowed_models=policy.allowed_models,
            limits=found.limits,
            provider=policy.provider,
            fallbacks=policy.fallbacks,
            retries=policy.retries,
            first_byte_timeout=policy.first_byte_timeout,
        )
