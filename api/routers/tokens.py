"""The caller's own token, and the organization's."""

from uuid import UUID

from fastapi import APIRouter

from api.auth import AnyCaller, Reader, Writer
from api.pages import Page, Paging
from api.schemas.tokens import CreatedToken, NewToken, Token, WhoAmI
from api.services import CurrentServices
from ibex.errors import PermissionDeniedError

router = APIRouter(tags=["tokens"])


@router.get("/whoami")
async def whoami(services: CurrentServices, caller: AnyCaller) -> WhoAmI:
    """What the token in use allows. Needs no scope."""
    overview = await services.management.overview(caller.org_id, caller.agent_id)
    return WhoAmI.of(caller.token, overview.organization)


@router.post("/tokens", status_code=201)
async def create_token(services: CurrentServices, caller: Writer, new: NewToken) -> CreatedToken:
    """Make a token with scopes that the caller's own token has."""
    caller.require_whole_organization()
    if not caller.token.scopes.issuperset(new.scopes):
        raise PermissionDeniedError(
            "A token cannot give scopes that it does not have.",
            hint="Leave them out, or make the token with 'ibex token create'.",
        )
    agent_id = None
    if new.agent is not None:
        agent_id = (await services.identity.agent(caller.org_id, new.agent)).id
    token = await services.identity.create_token(
        caller.org_id,
        new.name,
        agent_id=agent_id,
        scopes=sorted(set(new.scopes)),
        expires_at=new.expires_at,
    )
    return CreatedToken(id=token.id, token=token.text)


@router.get("/tokens")
async def list_tokens(services: CurrentServices, caller: Reader, paging: Paging) -> Page[Token]:
    """Newest first, revoked ones included; never the tokens themselves."""
    caller.require_whole_organization()
    rows = await services.management.tokens(
        caller.org_id, after=paging.after, limit=paging.one_more
    )
    return paging.page(rows, Token.of)


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(services: CurrentServices, caller: Writer, token_id: UUID) -> None:
    """Revoke a token; every process refuses it within a second."""
    caller.require_whole_organization()
    await services.identity.revoke_token(caller.org_id, token_id)
    await services.invalidations.token_revoked(token_id)
