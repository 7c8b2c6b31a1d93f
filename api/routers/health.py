"""Alive and ready, told apart; both without a token."""

from fastapi import APIRouter, Response

from api.schemas import Health, Readiness
from api.services import CurrentServices

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> Health:
    """The process lives."""
    return Health()


@router.get("/ready", responses={503: {"model": Readiness}})
async def ready(services: CurrentServices, response: Response) -> Readiness:
    """PostgreSQL and the auth service answer."""
    checks = await services.ready()
    if not all(checks.values()):
        response.status_code = 503
    return Readiness(ready=all(checks.values()), checks=checks)
