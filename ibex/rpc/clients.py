"""Clients of the assembler process: one channel, every call with a deadline."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import grpc
import grpc.aio

from ibex.errors import (
    AgentNotFoundError,
    AssemblerUnavailableError,
    AuthenticationError,
    PermissionDeniedError,
)
from ibex.policy import DEFAULT_PROVIDER, Fallback
from ibex.rate_limits import NO_LIMITS, Limits
from ibex.rpc.frames import FrameClient, NotConnectedError
from ibex.rpc.messages.ibex.v1 import (
    AssembleContextRequest,
    AssembleContextResponse,
    RateLimits,
    VerifyAgentRequest,
    VerifyAgentResponse,
    VerifyTokenRequest,
    VerifyTokenResponse,
)
from ibex.rpc.wire import decoder, encoder
from ibex.telemetry import outgoing, outgoing_metadata

AUTH_SERVICE = "ibex.v1.Auth"
CONTEXT_SERVICE = "ibex.v1.ContextAssembly"
#: The details of UNAVAILABLE when the assembler makes as many contexts as come in time.
BUSY = "As many contexts are made as come in time."

_OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.max_send_message_length", 64 * 2**20),
    ("grpc.enable_http_proxy", 0),
    # A restarted assembler is found again within a second, not after minutes of back-off.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


@dataclass(frozen=True)
class VerifiedToken:
    org_id: UUID
    token_id: UUID
    agent_id: UUID | None  # the only agent the token may be used for
    scopes: frozenset[str]
    expires_at: datetime | None
    limits: Limits = NO_LIMITS
    org_limits: Limits = NO_LIMITS


@dataclass(frozen=True)
class VerifiedAgent:
    id: UUID
    name: str
    default_model: str | None
    allowed_models: frozenset[str]  # empty: all
    limits: Limits = NO_LIMITS
    provider: str = DEFAULT_PROVIDER
    fallbacks: tuple[Fallback, ...] = ()
    retries: int = 0
    first_byte_timeout: float | None = None  # seconds; None: the deployment's


def open_channel(target: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target, options=_OPTIONS)


class AuthClient:
    def __init__(self, channel: grpc.aio.Channel, timeout: float = 2.0) -> None:
        """`timeout` in seconds for each call."""
        self._timeout = timeout
        self._verify_token = channel.unary_unary(
            f"/{AUTH_SERVICE}/VerifyToken",
            request_serializer=bytes,
            response_deserializer=VerifyTokenResponse.parse,
        )
        self._verify_agent = channel.unary_unary(
            f"/{AUTH_SERVICE}/VerifyAgent",
            request_serializer=bytes,
            response_deserializer=VerifyAgentResponse.parse,
        )

    async def verify_token(self, token: str) -> VerifiedToken:
        """Raises AuthenticationError, PermissionDeniedError when the organization is suspended, or
        AssemblerUnavailableError when nobody answers."""
        try:
            answer = await self._verify_token(
                VerifyTokenRequest(token=token), timeout=self._timeout, metadata=outgoing_metadata()
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise AuthenticationError(error.details()) from None
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                raise PermissionDeniedError(error.details()) from None
            raise AssemblerUnavailableError(
                f"The auth service does not answer ({error.code().name})."
            ) from error
        expires = answer.expires_at_ms
        return VerifiedToken(
            org_id=UUID(answer.org_id),
            token_id=UUID(answer.token_id),
            agent_id=UUID(answer.agent_id) if answer.agent_id else None,
            scopes=frozenset(answer.scopes),
            expires_at=datetime.fromtimestamp(expires / 1000, UTC) if expires else None,
            limits=_limits(answer.limits),
            org_limits=_limits(answer.org_limits),
        )

    async def verify_agent(self, org_id: UUID, agent: str) -> VerifiedAgent:
        """`agent` is an id or a name. Raises AgentNotFoundError, PermissionDeniedError when it is
        suspended, or AssemblerUnavailableError."""
        try:
            answer = await self._verify_agent(
                VerifyAgentRequest(org_id=str(org_id), agent=agent),
                timeout=self._timeout,
                metadata=outgoing_metadata(),
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise AgentNotFoundError from None
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                raise PermissionDeniedError(error.details()) from None
            raise AssemblerUnavailableError(
                f"The auth service does not answer ({error.code().name})."
            ) from error
        return VerifiedAgent(
            id=UUID(answer.agent_id),
            name=answer.name,
            default_model=answer.default_model or None,
            allowed_models=frozenset(answer.allowed_models),
            limits=_limits(answer.limits),
            provider=answer.provider or DEFAULT_PROVIDER,
            fallbacks=tuple(Fallback(one.provider, one.model) for one in answer.fallbacks),
            retries=answer.retries,
            first_byte_timeout=answer.first_byte_timeout or None,
        )


class ContextClient:
    def __init__(self, channel: grpc.aio.Channel, frames: FrameClient | None = None) -> None:
        """With `frames` these are asked first, and the channel where nobody takes them."""
        self._frames = frames
        self._encode = encoder(AssembleContextRequest)
        self._decode = decoder(AssembleContextResponse)
        self._assemble = channel.unary_unary(
            f"/{CONTEXT_SERVICE}/AssembleContext",
            request_serializer=self._encode,
            response_deserializer=self._decode,
        )

    async def assemble(
        self, request: AssembleContextRequest, deadline: float
    ) -> AssembleContextResponse:
        """`deadline` in seconds from now. Raises CallFailedError or grpc.aio.AioRpcError, which
        have the same codes."""
        if self._frames is not None:
            try:
                message = self._encode(request)
                return self._decode(await self._frames.call(outgoing(), message, deadline))
            except NotConnectedError:
                pass  # the assembler may be of an earlier version, or not take frames
        answer: AssembleContextResponse = await self._assemble(
            request, timeout=deadline, metadata=outgoing_metadata()
        )
        return answer


def _limits(message: RateLimits | None) -> Limits:
    return Limits(message.requests, message.tokens) if message else NO_LIMITS
