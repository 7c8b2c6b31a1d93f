"""The management API as one FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from api.errors import ErrorEnvelope, handle_errors
from api.middleware import RequestContext
from api.routers import (
    agents,
    backfills,
    checks,
    exports,
    feedback,
    health,
    injections,
    limits,
    lineage,
    memories,
    overview,
    pipeline,
    retention,
    review,
    sessions,
    tokens,
)
from api.services import open_services
from ibex.settings import Settings

PREFIX = "/api/v1"
_DESCRIPTION = """Operate one organization: its agents, directives, memories, sessions and tokens.

Send `Authorization: Bearer ibex_pat_…`. Scopes: **read** for every GET, **write** for changes,
**content** to see what memories, directives and turns say; without it those fields are null.
**chat** is enough to say whether an answer helped.
A token bound to an agent sees that agent only. Everything else does not exist for it: 404.
"""
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorEnvelope, "description": "The request is wrong or not allowed."},
    "5XX": {"model": ErrorEnvelope, "description": "IBEX or something it needs is down."},
}
# Spans and logs of FastAPI's own would carry what was sent and what exceptions say.
_NO_TELEMETRY: Any = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def create_app(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services:
            app.state.services = services
            yield

    app = FastAPI(
        title="IBEX management API",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
    )
    app.include_router(health.router)
    versioned = APIRouter(prefix=PREFIX, responses=_ERRORS)
    for module in (
        exports,  # before those that take what follows for an id
        agents,
        backfills,
        memories,
        review,
        sessions,
        injections,
        feedback,
        overview,
        pipeline,
        checks,
        lineage,
        tokens,
        limits,
        retention,
    ):
        versioned.include_router(module.router)
    app.include_router(versioned)
    handle_errors(app)
    app.add_middleware(RequestContext)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
