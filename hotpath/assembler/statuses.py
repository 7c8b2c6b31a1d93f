"""Which gRPC status an error becomes; the details are the error's own, content-free text."""

from typing import Any, NoReturn, TypeAlias
from uuid import UUID

import grpc
import grpc.aio

from ibex.errors import (
    AuthenticationError,
    DependencyError,
    IbexError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from ibex.ids import parse_id

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.GenericRpcHandler[Any, Any]"

_STATUSES: tuple[tuple[type[IbexError], grpc.StatusCode], ...] = (
    (AuthenticationError, grpc.StatusCode.UNAUTHENTICATED),
    (PermissionDeniedError, grpc.StatusCode.PERMISSION_DENIED),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (DependencyError, grpc.StatusCode.UNAVAILABLE),
)


def status_of(error: IbexError) -> grpc.StatusCode:
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    return grpc.StatusCode.INTERNAL


async def abort(context: Call, error: IbexError) -> NoReturn:
    await context.abort(status_of(error), error.message)


async def required_id(context: Call, name: str, text: str) -> UUID:
    value = parse_id(text)
    if value is None:
        await abort(context, InvalidRequestError(f"{name} is not a UUID."))
    return value
