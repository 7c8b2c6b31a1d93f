"""Who is calling: the access token, from an LRU, else from the Auth service.

Tokens are known by their SHA-256 only. A wrong one is remembered for a moment, apart from the
right ones, so that a flood of wrong tokens neither reaches the Auth service nor drives out callers.
The assembler process serves Auth; when it is down the same check runs on PostgreSQL directly, so
that a dead assembler costs memories and not requests.
"""

import hashlib
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from hotpath.proxy.lookup import Lookup
from ibex.access_tokens import parse_token
from ibex.errors import AssemblerUnavailableError, AuthenticationError, PermissionDeniedError
from ibex.lru import TimedLru
from ibex.rpc import AuthClient, VerifiedToken
from ibex.stores.identity import IdentityStore

_TOKENS: Final = 10_000
_REFUSALS: Final = 1_000
_REFUSAL_TTL: Final = 2.0  # seconds
_SCOPE: Final = "chat"


class TokenVerifier:
    def __init__(self, client: AuthClient, identity: IdentityStore, ttl: float) -> None:
        """`ttl` in seconds: how long a verified token is believed."""
        self._client = client
        self._identity = identity
        self._verified: Lookup[bytes, VerifiedToken] = Lookup(_TOKENS, ttl)
        self._refused: TimedLru[bytes, str] = TimedLru(_REFUSALS, _REFUSAL_TTL)

    async def verify(self, authorization: str) -> VerifiedToken:
        """`authorization` is the header. Raises AuthenticationError, PermissionDeniedError, or
        DependencyError when nobody can tell."""
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise AuthenticationError("There is no access token.")
        token = parse_token(text.strip())  # a mistyped one goes no further
        key = hashlib.sha256(token.text.encode()).digest()
        refusal = self._refused.get(key)
        if refusal is not None:
            raise AuthenticationError(refusal)
        try:
            verified = await self._verified.get(key, lambda: self._ask(token.text))
        except AuthenticationError as error:
            self._refused.put(key, error.message)
            raise
        if verified.expires_at is not None and verified.expires_at <= datetime.now(UTC):
            raise AuthenticationError("The access token has expired.")
        if _SCOPE not in verified.scopes:
            raise PermissionDeniedError("The access token does not have the scope 'chat'.")
        return verified

    def forget(self, token_id: UUID | None = None) -> None:
        """What was said about this token, or about all of them, is not true any more."""
        self._verified.forget(None if token_id is None else lambda one: one.token_id == token_id)

    def forget_organization(self, org_id: UUID) -> None:
        """What was said about its tokens is not true any more."""
        self._verified.forget(lambda one: one.org_id == org_id)

    async def _ask(self, text: str) -> VerifiedToken:
        try:
            return await self._client.verify_token(text)
        except AssemblerUnavailableError:
            grant = await self._identity.verify_token(text)
        return VerifiedToken(
            org_id=grant.org_id,
            token_id=grant.token_id,
            agent_id=grant.agent_id,
            scopes=frozenset(grant.scopes),
            expires_at=grant.expires_at,
            limits=grant.limits,
            org_limits=grant.org_limits,
        )
