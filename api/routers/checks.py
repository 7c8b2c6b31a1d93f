"""Whether what the pipeline leaves is what it should be."""

from fastapi import APIRouter

from api.auth import Reader
from api.pages import Page, Paging
from api.schemas.checks import CheckResult, Checks
from api.services import CurrentServices
from ibex.checks.catalogue import Name

router = APIRouter(tags=["checks"])


@router.get("/checks")
async def list_checks(services: CurrentServices, caller: Reader) -> Checks:
    """Every check with what it found last. They look every hour, in samples."""
    caller.require_whole_organization()
    return Checks.of(await services.checks.latest(caller.org_id))


@router.get("/checks/{name}/results")
async def list_check_results(
    services: CurrentServices, caller: Reader, name: Name, paging: Paging
) -> Page[CheckResult]:
    """Newest first: one for each time in which the check passed, or failed."""
    caller.require_whole_organization()
    rows = await services.checks.results(
        caller.org_id, name, after=paging.after, limit=paging.one_more
    )
    return paging.page(rows, CheckResult.of)
