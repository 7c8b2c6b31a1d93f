"""Verifies access tokens, with a memory."""

import hashlib
from datetime import UTC, datetime

from ibex.access_tokens import parse_token
from ibex.errors import AuthenticationError
from ibex.lru import TimedLru
from ibex.rpc import AuthClient, VerifiedToken

_CACHED_TOKENS = 4096


class Authenticator:
    """Verifies tokens through the Auth service and remembers the answers for `ttl` seconds."""

    def __init__(self, client: AuthClient, ttl: float) -> None:
        self._client = client
        # By SHA-256: no token lies in this process's memory longer than its request.
        self._verified: TimedLru[bytes, VerifiedToken] = TimedLru(_CACHED_TOKENS, ttl)

    async def verify(self, text: str) -> VerifiedToken:
        """Raises AuthenticationError, or AssemblerUnavailableError when nobody can tell."""
        digest = hashlib.sha256(text.encode()).digest()
        token = self._verified.get(digest)
        if token is None:
            parse_token(text)
            token = await self._client.verify_token(text)
            self._verified.put(digest, token)
        if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
            raise AuthenticationError("The access token has expired.")
        return token

    def on_invalidation(self, message: str) -> None:
        kind, _, token_id = message.partition(":")
        if kind == "token":
            self._verified.drop(lambda token: str(token.token_id) == token_id)

    def forget_all(self) -> None:
        self._verified.clear()
