"""AssembleContext over frames: the same method, messages and counts as over gRPC."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from hotpath.assembler.context_service import ContextService, encoded
from hotpath.assembler.observing import Observer
from ibex.rpc import AssembleContextRequest
from ibex.rpc.clients import CONTEXT_SERVICE
from ibex.rpc.frames import Answer, CallFailedError
from ibex.rpc.wire import decoder

_DECODE = decoder(AssembleContextRequest)


def framed(service: ContextService, observer: Observer) -> Answer:
    name = f"{CONTEXT_SERVICE}/AssembleContext"
    assemble: Callable[[Any, Any], Awaitable[Any]] = observer.around(name, service.assemble_context)

    async def answer(metadata: Mapping[str, str], message: bytes) -> bytes:
        try:
            request = _DECODE(message)
        except DecodeError:
            code = grpc.StatusCode.INVALID_ARGUMENT
            raise CallFailedError(code, "The message is malformed.") from None
        return encoded(await assemble(request, _Call(metadata)))

    return answer


class _Call:
    """What the service needs of gRPC's context."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._metadata = metadata
        self._code: grpc.StatusCode | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._metadata.items())

    def code(self) -> grpc.StatusCode | None:
        return self._code

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        self._code = code
        raise CallFailedError(code, details)
