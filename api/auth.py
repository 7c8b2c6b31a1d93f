"""Who calls, and what the token allows."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.services import CurrentServices
from ibex.errors import AuthenticationError, PermissionDeniedError
from ibex.rpc import VerifiedToken


@dataclass(frozen=True)
class Caller:
    token: VerifiedToken

    @property
    def org_id(self) -> UUID:
        return self.token.org_id

    @property
    def agent_id(self) -> UUID | None:
        """The only agent this token may see; None: all of the organization."""
        return self.token.agent_id

    @property
    def sees_content(self) -> bool:
        return "content" in self.token.scopes

    def require(self, scope: str) -> None:
        """Raises PermissionDeniedError."""
        if scope not in self.token.scopes:
            raise PermissionDeniedError(f"The access token lacks the scope '{scope}'.")

    def require_whole_organization(self) -> None:
        """Raises PermissionDeniedError for a token that is bound to one agent."""
        if self.agent_id is not None:
            raise PermissionDeniedError(
                "The access token is bound to one agent.",
                hint="Use a token of the whole organization.",
            )

    def may_see(self, agent_id: UUID) -> bool:
        return self.agent_id is None or self.agent_id == agent_id


_bearer = HTTPBearer(auto_error=False, description="A token made by 'ibex token create'.")


async def caller(
    services: CurrentServices,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    if credentials is None:
        raise AuthenticationError("There is no access token.")
    return Caller(await services.authenticator.verify(credentials.credentials))


AnyCaller = Annotated[Caller, Depends(caller)]


async def _reader(caller: AnyCaller) -> Caller:
    caller.require("read")
    return caller


async def _writer(caller: AnyCaller) -> Caller:
    caller.require("write")
    return caller


async def _speaker(caller: AnyCaller) -> Caller:
    if "chat" not in caller.token.scopes:
        caller.require("write")
    return caller


Reader = Annotated[Caller, Depends(_reader)]
Writer = Annotated[Caller, Depends(_writer)]
#: Who may chat may say what became of it.
Speaker = Annotated[Caller, Depends(_speaker)]
