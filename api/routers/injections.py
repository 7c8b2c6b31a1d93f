"""What was put into one request."""

from fastapi import APIRouter

from api.auth import Reader
from api.injected import describe_injections
from api.schemas.base import Text
from api.schemas.injections import Injection
from api.services import CurrentServices
from ibex.errors import NotFoundError

router = APIRouter(tags=["injections"])


@router.get("/injections/{request_id}")
async def read_injection(services: CurrentServices, caller: Reader, request_id: Text) -> Injection:
    """The memories with their scores, by the `x-request-id` of the proxy's answer."""
    record = await services.management.injection(caller.org_id, request_id)
    if not caller.may_see(record.agent_id):
        raise NotFoundError("Nothing was recorded as injected into this request.")
    return (await describe_injections(services, caller, {request_id: record}))[request_id]
