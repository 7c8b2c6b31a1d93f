"""One shape for every error: the envelope of ibex.errors with the request's id."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ibex.errors import (
    AuthenticationError,
    DependencyError,
    IbexError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
)

_log = logging.getLogger("ibex.api")


class ErrorDetail(BaseModel):
    message: str = Field(description="What is wrong and what to do.")
    type: str
    param: str | None = Field(description="The field that is wrong, when it is one.")
    code: str = Field(description="Stable: for programs to tell errors apart.")


class ErrorEnvelope(BaseModel):
    """The body of every answer with a status from 400 on."""

    error: ErrorDetail
    request_id: str | None


def error_response(
    error: IbexError,
    request_id: str | None,
    *,
    status: int | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = error.envelope(request_id)
    body["error"]["param"] = param
    extra = dict(headers or {})
    if isinstance(error, AuthenticationError):
        extra["www-authenticate"] = "Bearer"
    if isinstance(error, DependencyError):
        extra["retry-after"] = "1"
    return Response(
        orjson.dumps(body),
        status_code=status or error.status,
        headers=extra,
        media_type="application/json",
    )


def handle_errors(app: FastAPI) -> None:
    app.add_exception_handler(IbexError, _ibex_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def _request_id(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


async def _ibex_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, IbexError):
        raise error
    request_id = _request_id(request)
    if error.status >= 500:
        _log.warning("%s request_id=%s", error.code, request_id)
    return error_response(error, request_id)


async def _validation_error(request: Request, error: Exception) -> Response:
    """Names of fields and kinds of mistakes; never what was sent."""
    if not isinstance(error, RequestValidationError):
        raise error
    mistakes = error.errors()
    request_id = _request_id(request)
    if any(mistake["type"] == "json_invalid" for mistake in mistakes):
        return error_response(InvalidRequestError("The body is not valid JSON."), request_id)
    fields = [_field(mistake["loc"]) for mistake in mistakes]
    listed = ", ".join(
        f"{field} ({mistake['type']})" for field, mistake in zip(fields, mistakes, strict=True)
    )
    return error_response(
        InvalidRequestError(f"The request has wrong or missing fields: {listed}."),
        request_id,
        param=fields[0] if len(fields) == 1 else None,
    )


def _field(place: tuple[object, ...]) -> str:
    """`("body", "scopes", 0)` → `scopes.0`; a place in the body as a whole is `body`.

    A name that the client made up is content: only names made of letters come from our models.
    """
    names = [str(part) for part in place[1:]] or [str(place[0])]
    return ".".join(name if name.replace("_", "").isalnum() else "?" for name in names)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    request_id = _request_id(request)
    if error.status_code == 404:
        missing = NotFoundError("There is no such address.", hint="They are listed at /docs.")
        return error_response(missing, request_id)
    if error.status_code == 405:
        return error_response(MethodNotAllowedError(), request_id, headers=error.headers)
    phrase = HTTPStatus(error.status_code).phrase
    refused = InvalidRequestError(f"The request cannot be served: {phrase}.")
    return error_response(refused, request_id, status=error.status_code, headers=error.headers)
