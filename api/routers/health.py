"""Alive and ready, told apart, both without a token; and what Prometheus reads."""

from fastapi import APIRouter, Request, Response

from api.schemas.health import Health, Readiness
from api.services import CurrentServices
from ibex.metrics import CONTENT_TYPE

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


@router.get("/metrics", include_in_schema=False)
async def metrics(services: CurrentServices, request: Request) -> Response:
    page = await services.figures.page(request.headers.get("authorization", ""))
    return Response(page, media_type=CONTENT_TYPE.decode())
