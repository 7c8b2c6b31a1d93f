"""Every error IBEX raises on purpose.

    IbexError
    ├── ConfigurationError            a setting is missing or wrong; the start stops
    ├── AuthenticationError           401  no token, a malformed, unknown, expired or revoked one
    ├── PermissionDeniedError         403  a valid token that may not do this
    │   └── ModelNotAllowedError      403  the agent's policy does not list the model
    ├── NotFoundError                 404  the row does not exist for this organization
    │   ├── AgentNotFoundError
    │   ├── SessionNotFoundError
    │   ├── MemoryNotFoundError
    │   └── BackfillNotFoundError
    ├── ConflictError                 409  the row is not in a state that allows this
    │   └── LeaseLostError            409  another run has the session by now
    ├── InvalidRequestError           400  malformed JSON, a wrong type, a missing field
    │   ├── UnknownPromptError             no extraction prompt has this name
    │   ├── MethodNotAllowedError     405
    │   ├── RequestTooLargeError      413
    │   └── UnsupportedEncodingError  415  a content-encoding that is not unpacked here
    ├── RateLimitedError              429  a limit of the token, the agent or the organization
    ├── DependencyError               503  something IBEX needs does not answer
    │   ├── DatabaseUnavailableError
    │   │   └── SpoolFullError        and what it should store has no room on the disk
    │   ├── CacheUnavailableError
    │   ├── ObjectStoreUnavailableError
    │   ├── TracesUnavailableError    ClickHouse
    │   ├── EmbedderUnavailableError
    │   ├── AssemblerUnavailableError
    │   └── ProviderUnavailableError  502  the model's server refused or hung up
    │       ├── ProviderTimeoutError  504  the model's server fell silent
    │       ├── ProviderPausedError   503  it failed too often and is left alone for a while
    │       ├── ProviderLimitError    503  it wants fewer calls, or our limits towards it are full
    │       ├── ProviderAddressError  502  its name leads into a private network
    │       └── UnknownProviderError  502  the agent's policy names one that is not configured
    ├── ExtractionError               a model's answer could not be turned into facts
    │   ├── ModelTooSlowError         it took too long, of a server that answers others
    │   └── MalformedExtractionError  it was not the JSON that was asked for
    │       └── WindowTooSmallError   the model's window has no room for so much
    ├── LakeQueryError                400  DuckDB's own words, which quote the query
    ├── LakeConflictError             409  another writer was faster; nothing was changed
    ├── ArchiveDamagedError           500  an archive is not what was written, or is gone
    ├── ScratchFolderError            no room, or no right, for files of a moment under IBEX_HOME
    └── EmbeddedServerError           a server from a wheel did not start or stop

An error's message never holds what a user, a model or an operator wrote: ids, names of fields and
counts only. `code` is stable and part of the API; `hint` says what to do.
"""

from typing import Any, ClassVar


class IbexError(Exception):
    """Something went wrong inside IBEX."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    hint: ClassVar[str] = "Look into the service's log for the request id."

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.advice = hint or self.hint
        super().__init__(self.message)

    def envelope(self, request_id: str | None) -> dict[str, Any]:
        """The body every HTTP error of IBEX has: OpenAI's error envelope and a request id.

        Source: https://platform.openai.com/docs/guides/error-codes
        """
        return {
            "error": {
                "message": f"{self.message} {self.advice}".strip(),
                "type": self.kind,
                "param": None,
                "code": self.code,
            },
            "request_id": request_id,
        }


class ConfigurationError(IbexError):
    """A setting is missing or wrong."""

    code = "configuration_error"
    hint = "Settings are listed in .env.example."


class AuthenticationError(IbexError):
    """The access token is missing, malformed, unknown, expired or revoked."""

    code = "invalid_api_key"
    status = 401
    kind = "authentication_error"
    hint = "Send 'Authorization: Bearer ibex_pat_…' with a token made by 'ibex token create'."


class PermissionDeniedError(IbexError):
    """The access token does not allow this."""

    code = "permission_denied"
    status = 403
    kind = "permission_error"
    hint = "Use a token with the scope that this needs."


class ModelNotAllowedError(PermissionDeniedError):
    """The agent's policy does not allow this model."""

    code = "model_not_allowed"
    hint = "Ask for a model that the agent's policy lists, or have an operator add it."


class NotFoundError(IbexError):
    """There is no such thing in this organization."""

    code = "not_found"
    status = 404
    kind = "invalid_request_error"
    hint = "Check the id, and that the token belongs to the same organization."


class AgentNotFoundError(NotFoundError):
    """There is no such agent in this organization."""

    code = "agent_not_found"
    hint = "Send the agent's id or name in X-IBEX-Agent-ID, or use a token bound to an agent."


class SessionNotFoundError(NotFoundError):
    """There is no such session in this organization."""

    code = "session_not_found"


class MemoryNotFoundError(NotFoundError):
    """There is no such memory in this organization."""

    code = "memory_not_found"


class BackfillNotFoundError(NotFoundError):
    """There is no such backfill."""

    code = "backfill_not_found"
    hint = "'ibex backfill list' shows those there are."


class ConflictError(IbexError):
    """The current state does not allow this."""

    code = "conflict"
    status = 409
    kind = "invalid_request_error"
    hint = "Read the current state and try again."


class LeaseLostError(ConflictError):
    """The lease of this session expired and has passed on."""

    code = "lease_lost"
    hint = "Nothing was written; the run that holds the lease now does the work."


class InvalidRequestError(IbexError):
    """The request is malformed."""

    code = "invalid_request"
    status = 400
    kind = "invalid_request_error"
    hint = "Correct the request and send it again."


class MethodNotAllowedError(InvalidRequestError):
    """This address does not take that method."""

    code = "method_not_allowed"
    status = 405
    hint = "The 'allow' header lists the methods."


class RequestTooLargeError(InvalidRequestError):
    """The request body is larger than this server accepts."""

    code = "request_too_large"
    status = 413
    hint = "Send less, or have an operator raise IBEX_MAX_BODY_BYTES."


class UnsupportedEncodingError(InvalidRequestError):
    """This server does not unpack that content-encoding."""

    code = "unsupported_encoding"
    status = 415
    hint = "Send the body as it is, or compressed with gzip or zstd."


class UnknownPromptError(InvalidRequestError):
    """No extraction prompt has this name."""

    code = "unknown_prompt"
    hint = "Name one of them (IBEX_EXTRACTION_PROMPT), or add its file to IBEX_EXTRACTION_PROMPTS."


class RateLimitedError(IbexError):
    """A rate limit is reached."""

    code = "rate_limit_exceeded"
    status = 429
    kind = "rate_limit_error"
    hint = "Wait as long as 'retry-after' says, or have an operator raise the limit."

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, retry_after: int | None = None
    ) -> None:
        """`retry_after` in seconds; None: waiting does not help."""
        self.retry_after = retry_after
        super().__init__(message, hint=hint)


class DependencyError(IbexError):
    """A part that IBEX needs does not answer."""

    code = "dependency_unavailable"
    status = 503
    hint = "Try again shortly; 'ibex status' shows what is down."


class DatabaseUnavailableError(DependencyError):
    """PostgreSQL does not answer."""

    code = "database_unavailable"


class SpoolFullError(DatabaseUnavailableError):
    """PostgreSQL does not answer, and the spool on the local disk has no room."""

    code = "spool_full"
    hint = "Bring PostgreSQL back, or make room (IBEX_SPOOL_MAX_BYTES, the disk)."


class CacheUnavailableError(DependencyError):
    """Redis does not answer."""

    code = "cache_unavailable"


class ObjectStoreUnavailableError(DependencyError):
    """The object store does not answer."""

    code = "object_store_unavailable"


class TracesUnavailableError(DependencyError):
    """ClickHouse does not answer."""

    code = "traces_unavailable"


class EmbedderUnavailableError(DependencyError):
    """The embedding service does not answer."""

    code = "embedder_unavailable"


class AssemblerUnavailableError(DependencyError):
    """The assembler does not answer."""

    code = "assembler_unavailable"


class ProviderUnavailableError(DependencyError):
    """The model's server does not answer."""

    code = "provider_unavailable"
    status = 502
    kind = "api_error"
    hint = "Check IBEX_PROVIDER_BASE_URL and the provider's status."


class ProviderTimeoutError(ProviderUnavailableError):
    """The model's server has been silent for too long."""

    code = "provider_timeout"
    status = 504
    hint = "Try again, or have an operator raise IBEX_UPSTREAM_IDLE_TIMEOUT."


class ProviderPausedError(ProviderUnavailableError):
    """The model's server failed several times in a row and is left alone for a moment."""

    code = "provider_paused"
    status = 503
    hint = "Try again shortly, or have an operator give the agent a fallback."

    def __init__(self, retry_after: float) -> None:
        """`retry_after` in seconds."""
        super().__init__()
        self.retry_after = retry_after


class ProviderLimitError(ProviderUnavailableError):
    """The model's server takes no call for now: too many were made in the last minute."""

    code = "provider_limit"
    status = 503
    hint = "Lower IBEX_EXTRACTION_REQUESTS_PER_MINUTE or …_TOKENS_PER_MINUTE to what it allows."

    def __init__(self, message: str | None = None, *, retry_after: float) -> None:
        """`retry_after` in seconds."""
        super().__init__(message)
        self.retry_after = retry_after


class ProviderAddressError(ProviderUnavailableError):
    """The provider's name leads to an address inside a private network."""

    code = "provider_address_refused"
    hint = "If that is meant, set IBEX_PROVIDER_ALLOW_PRIVATE, or allow_private in IBEX_PROVIDERS."


class UnknownProviderError(ProviderUnavailableError):
    """The agent's policy names a provider that is not configured."""

    code = "provider_not_configured"
    hint = "Add it to IBEX_PROVIDERS, or change the agent's policy."


class ExtractionError(IbexError):
    """A model's answer could not be turned into facts."""

    code = "extraction_failed"


class MalformedExtractionError(ExtractionError):
    """The model did not answer with the JSON that was asked for."""

    code = "malformed_extraction"
    hint = "Use a model that supports JSON schema output (IBEX_EXTRACTION_MODEL)."


class ArchiveDamagedError(IbexError):
    """A session's archive is not what was written."""

    code = "archive_damaged"
    hint = "Restore the object from a copy; 'ibex lake verify --deep' lists what is damaged."


class WindowTooSmallError(MalformedExtractionError):
    """The model's window has no room for what it must read and answer at once."""

    code = "model_window_too_small"
    hint = "Say how large it is in IBEX_CONTEXT_WINDOWS, or use a model with a larger one."


class ModelTooSlowError(ExtractionError):
    """The model did not answer in time, though its server answers others."""

    code = "model_too_slow"
    hint = "Raise IBEX_EXTRACTION_TIMEOUT, or use a faster model."


class ScratchFolderError(IbexError):
    """Files cannot be written or read below IBEX_HOME."""

    code = "scratch_folder_error"
    hint = "See to room on the disk of IBEX_HOME, and to the right to write there."


class EmbeddedServerError(IbexError):
    """An embedded server did not start or stop."""

    code = "embedded_server_error"
    hint = "Read its log with 'ibex logs NAME'."


class LakeQueryError(IbexError):
    """A query over the lake failed. Its message is DuckDB's, for whoever asked and nobody else."""

    code = "lake_query_failed"
    status = 400
    kind = "invalid_request_error"
    hint = "The tables and their columns are in docs/sql.md."


class LakeConflictError(IbexError):
    """Another writer replaced these files of the lake first; nothing was changed."""

    code = "lake_conflict"
    status = 409
    hint = "Do it again: it starts from what is there by now."
