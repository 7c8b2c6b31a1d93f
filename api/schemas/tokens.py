"""Access tokens, and who a token is."""

from datetime import UTC, datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.schemas.base import Input, Name, Output, Text
from ibex.rpc import VerifiedToken
from ibex.stores.management import TokenRecord

Scope = Literal["chat", "read", "write", "content"]


class WhoAmI(Output):
    org_id: UUID
    org_name: str
    token_id: UUID
    agent_id: UUID | None = Field(description="The only agent that the token may see.")
    scopes: list[str]
    expires_at: datetime | None

    @classmethod
    def of(cls, token: VerifiedToken, org_name: str) -> Self:
        return cls(
            org_id=token.org_id,
            org_name=org_name,
            token_id=token.token_id,
            agent_id=token.agent_id,
            scopes=sorted(token.scopes),
            expires_at=token.expires_at,
        )


class NewToken(Input):
    name: Name
    scopes: list[Scope] = Field(["chat"], min_length=1)
    agent: Text | None = Field(None, description="Id or name: bind the token to this agent.")
    expires_at: datetime | None = Field(None, description="With an offset; null: never.")

    @model_validator(mode="after")
    def _in_the_future(self) -> Self:
        if self.expires_at is not None and (
            self.expires_at.tzinfo is None or self.expires_at <= datetime.now(UTC)
        ):
            raise ValueError("expires_at must be in the future and have an offset")
        return self


class Token(Output):
    id: UUID
    name: str
    agent_id: UUID | None
    scopes: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, record: TokenRecord) -> Self:
        return cls.model_validate(record)


class CreatedToken(Output):
    id: UUID
    token: str = Field(description="Shown this once; only its SHA-256 is kept.")
