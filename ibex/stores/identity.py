"""Organizations, agents, users, tokens and directives in PostgreSQL."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from ibex.access_tokens import AccessToken, new_token, parse_token
from ibex.errors import (
    AgentNotFoundError,
    AuthenticationError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
)
from ibex.ids import new_id, parse_id
from ibex.policy import AgentPolicy, Fallback, check_policy, policy_document, policy_of
from ibex.rate_limits import NO_LIMITS, Limits
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("identity")


@dataclass(frozen=True)
class Agent:
    id: UUID
    name: str
    status: str
    memory_token_budget: int | None
    policy: AgentPolicy
    limits: Limits = NO_LIMITS


@dataclass(frozen=True)
class TokenGrant:
    """What a verified token allows."""

    org_id: UUID
    token_id: UUID
    agent_id: UUID | None
    scopes: tuple[str, ...]
    expires_at: datetime | None
    limits: Limits = NO_LIMITS
    org_limits: Limits = NO_LIMITS


@dataclass(frozen=True)
class DirectiveText:
    version: int
    content: str = field(repr=False)


class IdentityStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_organization(self, name: str) -> UUID:
        """Raises ConflictError when the name is taken."""
        org_id = new_id()
        async with self._database.system() as connection:
            try:
                await connection.execute(_SQL["add_organization"], org_id, name)
            except asyncpg.UniqueViolationError:
                raise ConflictError("An organization of this name exists.") from None
        return org_id

    async def organization(self, name: str) -> UUID:
        """Raises NotFoundError."""
        async with self._database.system() as connection:
            org_id: UUID | None = await connection.fetchval(_SQL["organization_by_name"], name)
        if org_id is None:
            raise NotFoundError("There is no organization of this name.")
        return org_id

    async def create_agent(
        self,
        org_id: UUID,
        name: str,
        *,
        description: str = "",
        default_model: str | None = None,
        allowed_models: Sequence[str] = (),
        memory_token_budget: int | None = None,
        provider: str | None = None,
        fallbacks: Sequence[Fallback] = (),
        retries: int = 0,
        first_byte_timeout: float | None = None,
    ) -> UUID:
        """Raises ConflictError when the name is taken."""
        policy = policy_document(
            default_model=default_model,
            allowed_models=allowed_models,
            provider=provider,
            fallbacks=fallbacks,
            retries=retries,
            first_byte_timeout=first_byte_timeout,
        )
        agent_id = new_id()
        async with self._database.tenant(org_id) as connection:
            try:
                await connection.execute(
                    _SQL["add_agent"],
                    org_id,
                    agent_id,
                    name,
                    description,
                    policy,
                    memory_token_budget,
                )
            except asyncpg.UniqueViolationError:
                raise ConflictError("An agent of this name exists.") from None
        return agent_id

    async def agent(self, org_id: UUID, id_or_name: str | UUID) -> Agent:
        """Raises AgentNotFoundError."""
        text = str(id_or_name)
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["agent"], org_id, parse_id(text), text)
        if row is None:
            raise AgentNotFoundError
        return Agent(
            id=row["id"],
            name=row["name"],
            status=row["status"],
            memory_token_budget=row["memory_token_budget"],
            policy=policy_of(row["policy"]),
            limits=Limits.of(row["policy"].get("limits")),
        )

    async def change_agent(
        self,
        org_id: UUID,
        agent_id: UUID,
        columns: Mapping[str, Any],
        policy: Mapping[str, Any],
    ) -> None:
        """Only what is named changes: `columns` among description, status and memory_token_budget;
        `policy` replaces the members it names, and None takes one away.

        Raises AgentNotFoundError, or InvalidRequestError when the default model would not be among
        the allowed ones.
        """
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["agent_for_change"], org_id, agent_id)
            if row is None:
                raise AgentNotFoundError
            changed = {**row, **columns}
            merged = {**row["policy"], **policy}
            document = {name: value for name, value in merged.items() if value is not None}
            check_policy(document.get("default_model"), document.get("allowed_models") or ())
            await connection.execute(
                _SQL["change_agent"],
                org_id,
                agent_id,
                changed["description"],
                changed["status"],
                changed["memory_token_budget"],
                document,
            )

    async def agent_names(self, org_id: UUID) -> dict[UUID, str]:
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["agent_names"], org_id)
        return {row["id"]: row["name"] for row in rows}

    async def user(self, org_id: UUID, external_id: str) -> UUID:
        """The id of the application's user, made when it is new."""
        async with self._database.tenant(org_id) as connection:
            user_id: UUID | None = await connection.fetchval(_SQL["user"], org_id, external_id)
            if user_id is None:
                await connection.execute(_SQL["add_user"], org_id, new_id(), external_id)
                user_id = await connection.fetchval(_SQL["user"], org_id, external_id)
        if user_id is None:
            raise NotFoundError("The user was removed at this moment.")
        return user_id

    async def known_user(self, org_id: UUID, external_id: str) -> UUID:
        """The id of the application's user. Raises NotFoundError."""
        async with self._database.tenant(org_id) as connection:
            user_id: UUID | None = await connection.fetchval(_SQL["user"], org_id, external_id)
        if user_id is None:
            raise NotFoundError("There is no such user in this organization.")
        return user_id

    async def create_token(
        self,
        org_id: UUID,
        name: str,
        *,
        agent_id: UUID | None = None,
        scopes: Sequence[str] = ("chat",),
        expires_at: datetime | None = None,
    ) -> AccessToken:
        """The only moment at which the token's text is known."""
        token = new_token(new_id())
        async with self._database.tenant(org_id) as connection:
            await connection.execute(
                _SQL["add_token"],
                org_id,
                token.id,
                name,
                token.sha256,
                agent_id,
                list(scopes),
                expires_at,
            )
        return token

    async def verify_token(self, text: str) -> TokenGrant:
        """Raises AuthenticationError, or PermissionDeniedError for a suspended organization."""
        token = parse_token(text)
        async with self._database.system() as connection:
            row = await connection.fetchrow(_SQL["token"], token.id)
        if row is None or not secrets.compare_digest(row["sha256"], token.sha256):
            raise AuthenticationError("The access token is unknown.")
        if row["revoked_at"] is not None:
            raise AuthenticationError("The access token was revoked.")
        if row["expires_at"] is not None and row["expires_at"] <= datetime.now(UTC):
            raise AuthenticationError("The access token has expired.")
        if row["status"] != "active":
            raise PermissionDeniedError("The organization is suspended.")
        return TokenGrant(
            org_id=row["org_id"],
            token_id=row["id"],
            agent_id=row["agent_id"],
            scopes=tuple(row["scopes"]),
            expires_at=row["expires_at"],
            limits=Limits.of(row["limits"]),
            org_limits=Limits.of(row["org_limits"]),
        )

    async def revoke_token(self, org_id: UUID, token_id: UUID) -> None:
        """Raises NotFoundError when there is no such token that is still valid."""
        async with self._database.tenant(org_id) as connection:
            done = await connection.execute(_SQL["revoke_token"], org_id, token_id)
        if done != "UPDATE 1":
            raise NotFoundError("There is no such token, or it was revoked before.")

    async def set_directive(self, org_id: UUID, agent_id: UUID, content: str) -> int:
        """The new version's number, from 1."""
        async with self._database.tenant(org_id) as connection:
            version: int = await connection.fetchval(
                _SQL["add_directive"], org_id, new_id(), agent_id, new_id(), content
            )
        return version

    async def directive(self, org_id: UUID, agent_id: UUID) -> DirectiveText | None:
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["directive"], org_id, agent_id)
        return DirectiveText(row["version"], row["content"]) if row else None
