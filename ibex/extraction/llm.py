"""Any OpenAI-compatible model as a function from messages to JSON text."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from typing import Final, Protocol, Self
from urllib.parse import urlsplit

import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from ibex.circuit import AWAY, Circuit
from ibex.errors import (
    ExtractionError,
    MalformedExtractionError,
    ModelTooSlowError,
    ProviderLimitError,
    ProviderPausedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    WindowTooSmallError,
)
from ibex.extraction.completion import Completion, Meter, Rejected
from ibex.extraction.form import AnswerForm, AnswerMode
from ibex.extraction.refusals import refuses_format, refuses_length
from ibex.extraction.room import quoted_tokens
from ibex.memory import tokens
from ibex.retry_after import asked_pause
from ibex.settings import Settings

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_CONNECT_LIMIT: Final = 10.0  # seconds
_LIMITED_TRIES: Final = 3  # of a call that the server answers with 429
_WORTH_WAITING: Final = 60.0  # seconds; what is asked for longer than that, a later run does
_UNSAID_PAUSE: Final = 5.0  # seconds, when a 429 does not say how long
_ANSWER_TOKENS: Final = 500  # reserved for an answer until it is there
_TOKEN_CHARACTERS: Final = 3  # of JSON, at least


class Slot(Protocol):
    def used(self, tokens: int) -> None:
        """What the call cost, in place of what was reserved for it."""


class Slots(Protocol):
    """Whose turn it is to call the model, of all that want to."""

    def slot(self, tokens: int) -> AbstractAsyncContextManager[Slot]:
        """Waits for it. Raises ProviderLimitError."""

    async def pause(self, seconds: float) -> None:
        """No call of anybody for so long: the server asked for it."""


class ModelClient:
    """Calls one model. A 429 is waited for; else whoever schedules the work decides about another
    attempt. A server that is away is left alone for a while after a few calls."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        model: str,
        timeout: float,
        *,
        window: int = tokens.DEFAULT_CONTEXT_WINDOW,
        slots: Slots | None = None,
        circuit: Circuit | None = None,
    ) -> None:
        """`base_url` ends in /v1; `timeout` in seconds for one whole call; `window` in tokens."""
        self.model = model
        self.window = window
        self._timeout = timeout
        self._mode = AnswerMode.SCHEMA
        self._slots = slots
        self._circuit = circuit or Circuit(5, 10.0)
        self._answered_at: float | None = None
        limits = openai.Timeout(None, connect=min(_CONNECT_LIMIT, timeout))
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key,
            timeout=limits,
            max_retries=0,
            # HTTP_PROXY and the like are for the way out, never for this machine.
            http_client=DefaultAsyncHttpxClient(
                trust_env=urlsplit(base_url).hostname not in _LOOPBACK, timeout=limits
            ),
        )

    @classmethod
    def of(cls, settings: Settings, slots: Slots | None = None, model: str | None = None) -> Self:
        """The model that extracts, or another one of the same server."""
        name = model or settings.extraction_model
        return cls(
            settings.provider_url,
            settings.provider_key,
            name,
            settings.extraction_timeout,
            window=tokens.context_window(
                name, {**tokens.CONTEXT_WINDOWS, **settings.context_windows}
            ),
            slots=slots,
            circuit=Circuit(settings.provider_circuit_failures, settings.provider_circuit_pause),
        )

    async def complete(
        self,
        instructions: str,
        text: str,
        form: AnswerForm,
        *,
        rejected: Rejected | None = None,
        meter: Meter | None = None,
    ) -> Completion:
        """The model's answer to `text` in the schema of `form`, as text.

        A server that refuses JSON schemas is asked for plain JSON, and one that refuses that too
        for text; `form` is described to it then.

        Raises ProviderUnavailableError and what is under it when the server is away or wants to be
        left alone, WindowTooSmallError when fewer words may do, ExtractionError,
        MalformedExtractionError.
        """
        meter = meter or Meter()
        for mode in [one for one in AnswerMode if one >= self._mode]:
            messages = self._messages(form.told(instructions, mode), text, rejected)
            try:
                completion = await self._in_turn(messages, form, mode, meter)
            except openai.APIStatusError as error:
                if mode is max(AnswerMode):
                    raise _refused(error, form) from error
                continue
            self._mode = mode
            return completion
        raise AssertionError("the last mode returns or raises")

    async def close(self) -> None:
        await self._client.close()

    def _messages(
        self, instructions: str, text: str, rejected: Rejected | None
    ) -> list[ChatCompletionMessageParam]:
        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": instructions},
            {"role": "user", "content": text},
        ]
        if rejected is not None:
            quoted = rejected.answer[: quoted_tokens(self.window) * _TOKEN_CHARACTERS]
            messages += [
                {"role": "assistant", "content": quoted},
                {
                    "role": "user",
                    "content": f"That cannot be used: {rejected.complaint} Answer again, with one "
                    "JSON object as it was described and nothing else.",
                },
            ]
        return messages

    async def _in_turn(
        self,
        messages: Sequence[ChatCompletionMessageParam],
        form: AnswerForm,
        mode: AnswerMode,
        meter: Meter,
    ) -> Completion:
        """Raises openai.APIStatusError when it may be the format that the server refuses."""
        expected = sum(len(text) for text in _texts(messages)) // 4 + _ANSWER_TOKENS
        for tries_left in reversed(range(_LIMITED_TRIES)):
            async with self._slots.slot(expected) if self._slots else nullcontext() as slot:
                try:
                    answer = await self._call(messages, form, mode, meter)
                except ProviderLimitError as error:
                    if self._slots is not None:
                        await self._slots.pause(error.retry_after)
                    if not tries_left or error.retry_after > _WORTH_WAITING:
                        self._circuit.failed()
                        raise
                    if self._slots is None:
                        await asyncio.sleep(error.retry_after)
                    continue
                completion = _completion(answer, self.model, messages)
                meter.add(completion)
                if slot is not None:
                    slot.used(completion.prompt_tokens + completion.completion_tokens)
            _check(answer)
            return completion
        raise AssertionError("the last try returns or raises")

    async def _call(
        self,
        messages: Sequence[ChatCompletionMessageParam],
        form: AnswerForm,
        mode: AnswerMode,
        meter: Meter,
    ) -> ChatCompletion:
        if not self._circuit.admit():
            raise ProviderPausedError(self._circuit.left)
        started = time.monotonic()
        meter.calls += 1
        decided = False
        try:
            answer = await self._ask(messages, form, mode, started)
            self._circuit.succeeded()
            decided = True
        except (ProviderUnavailableError, ExtractionError) as error:
            if _is_away(error):
                self._circuit.failed()
                decided = True
            raise
        finally:
            meter.seconds += time.monotonic() - started
            if not decided:
                self._circuit.undecided()
        self._answered_at = time.monotonic()
        return answer

    async def _ask(
        self,
        messages: Sequence[ChatCompletionMessageParam],
        form: AnswerForm,
        mode: AnswerMode,
        started: float,
    ) -> ChatCompletion:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._client.chat.completions.create(
                    model=self.model,
                    messages=messages,
                    response_format=form.response_format(mode) or openai.omit,
                )
        except TimeoutError:
            if self._answered_at is not None and self._answered_at > started - self._timeout:
                raise ModelTooSlowError from None
            raise ProviderTimeoutError(
                "The model's server timed out.",
                hint="Raise IBEX_EXTRACTION_TIMEOUT, or use a faster model.",
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ProviderUnavailableError(
                f"The model's server refused the key ({error.status_code}).",
                hint="Check IBEX_PROVIDER_API_KEY or OPENAI_API_KEY.",
            ) from error
        except openai.RateLimitError as error:
            if error.code == "insufficient_quota":
                raise ProviderUnavailableError(
                    "The model's server says that the account has no quota left.",
                    hint="Top up the provider's account, or raise its limit.",
                ) from error
            headers = [(name.lower(), value) for name, value in error.response.headers.raw]
            pause = asked_pause(headers, datetime.now(UTC))
            raise ProviderLimitError(
                "The model's server answered 429.",
                retry_after=_UNSAID_PAUSE if pause is None else pause,
            ) from error
        except openai.APIStatusError as error:
            if refuses_length(error.status_code, error.message, error.code):
                raise WindowTooSmallError from error
            if refuses_format(error.status_code):
                raise
            raise _unavailable(error) from error
        except openai.APIError as error:
            raise ProviderUnavailableError(
                f"The model's server does not answer ({type(error).__name__})."
            ) from error


def _texts(messages: Iterable[ChatCompletionMessageParam]) -> list[str]:
    return [str(message.get("content")) for message in messages]


def _is_away(error: Exception) -> bool:
    """Not reached, silent, or said to be away: it is the same for every call."""
    cause = error.__cause__
    if isinstance(cause, openai.APIStatusError):
        no_quota = cause.code == "insufficient_quota"
        return cause.status_code in AWAY or no_quota
    return isinstance(cause, openai.APIConnectionError) or isinstance(error, ProviderTimeoutError)


def _refused(error: openai.APIStatusError, form: AnswerForm) -> ExtractionError | Exception:
    if error.status_code == 404:  # no such model, or no such address
        return _unavailable(error)
    return ExtractionError(
        f"The model's server refused the request for {form.name} ({error.status_code}).",
        hint="Check IBEX_EXTRACTION_MODEL: the model may be unknown or too small.",
    )


def _unavailable(error: openai.APIStatusError) -> ProviderUnavailableError:
    return ProviderUnavailableError(
        f"The model's server answered {error.status_code}.",
        hint="Check IBEX_PROVIDER_BASE_URL, IBEX_EXTRACTION_MODEL and the provider's status.",
    )


def _completion(
    answer: ChatCompletion, model: str, messages: Sequence[ChatCompletionMessageParam]
) -> Completion:
    """A server that does not count has its tokens counted here."""
    try:
        text = (answer.choices[0].message.content or "") if answer.choices else ""
        usage = answer.usage
        if usage is None:
            spent = tokens.history_tokens(_texts(messages), model), tokens.count(text, model)
        else:
            spent = usage.prompt_tokens, usage.completion_tokens
    except (AttributeError, TypeError) as error:  # the client library does not check types
        raise MalformedExtractionError("The model's server sent no chat completion.") from error
    return Completion(text, answer.model or model, *spent)


def _check(answer: ChatCompletion) -> None:
    if not answer.choices:
        raise MalformedExtractionError("The model gave no answer.")
    choice = answer.choices[0]
    if choice.finish_reason == "length":
        raise WindowTooSmallError("The model's answer was cut at its token limit.")
    if choice.finish_reason == "content_filter" or choice.message.refusal:
        raise ExtractionError("The model refused to read this conversation.")
