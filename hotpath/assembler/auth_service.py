"""The Auth service: what a token and an agent may do, straight from PostgreSQL.

Nothing is cached here: the callers keep the answers in an LRU with a time to live. The details of
a status are for people; they never hold the token.
"""

import grpc

from hotpath.assembler.statuses import Call, Handler, abort, required_id
from ibex.errors import AgentNotFoundError, AuthenticationError, DependencyError
from ibex.errors import PermissionDeniedError as Denied
from ibex.rate_limits import Limits
from ibex.rpc import (
    Fallback,
    RateLimits,
    VerifyAgentRequest,
    VerifyAgentResponse,
    VerifyTokenRequest,
    VerifyTokenResponse,
)
from ibex.rpc.clients import AUTH_SERVICE
from ibex.stores.identity import IdentityStore

_REFUSALS = (AuthenticationError, AgentNotFoundError, Denied, DependencyError)


class AuthService:
    def __init__(self, identity: IdentityStore) -> None:
        self._identity = identity

    def handler(self) -> Handler:
        return grpc.method_handlers_generic_handler(
            AUTH_SERVICE,
            {
                "VerifyToken": grpc.unary_unary_rpc_method_handler(
                    self.verify_token,
                    request_deserializer=VerifyTokenRequest.parse,
                    response_serializer=bytes,
                ),
                "VerifyAgent": grpc.unary_unary_rpc_method_handler(
                    self.verify_agent,
                    request_deserializer=VerifyAgentRequest.parse,
                    response_serializer=bytes,
                ),
            },
        )

    async def verify_token(self, request: VerifyTokenRequest, context: Call) -> VerifyTokenResponse:
        try:
            grant = await self._identity.verify_token(request.token)
        except _REFUSALS as error:
            await abort(context, error)
        expires = grant.expires_at
        return VerifyTokenResponse(
            org_id=str(grant.org_id),
            token_id=str(grant.token_id),
            agent_id=str(grant.agent_id) if grant.agent_id else "",
            scopes=list(grant.scopes),
            expires_at_ms=int(expires.timestamp() * 1000) if expires else 0,
            limits=_limits(grant.limits),
            org_limits=_limits(grant.org_limits),
        )

    async def verify_agent(self, request: VerifyAgentRequest, context: Call) -> VerifyAgentResponse:
        org_id = await required_id(context, "org_id", request.org_id)
        try:
            agent = await self._identity.agent(org_id, request.agent)
            if agent.status != "active":
                raise Denied(f"The agent is {agent.status}.")
        except _REFUSALS as error:
            await abort(context, error)
        return VerifyAgentResponse(
            agent_id=str(agent.id),
            name=agent.name,
            default_model=agent.policy.default_model or "",
            allowed_models=list(agent.policy.allowed_models),
            limits=_limits(agent.limits),
            provider=agent.policy.provider,
            fallbacks=[
                Fallback(provider=one.provider, model=one.model) for one in agent.policy.fallbacks
            ],
            retries=agent.policy.retries,
            first_byte_timeout=agent.policy.first_byte_timeout or 0.0,
        )


def _limits(limits: Limits) -> RateLimits:
    return RateLimits(requests=limits.requests, tokens=limits.tokens)
