"""Any OpenAI-compatible model as a function from messages to JSON text."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletion
from openai.types.shared_params import ResponseFormatJSONObject, ResponseFormatJSONSchema

from ibex.errors import ExtractionError, MalformedExtractionError, ProviderUnavailableError
from ibex.extraction.form import AnswerForm

_JSON_FORMAT: Final[ResponseFormatJSONObject] = {"type": "json_object"}
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Completion:
    text: str = field(repr=False)
    model: str  # as the server names it
    prompt_tokens: int
    completion_tokens: int


class ModelClient:
    """Tries each call once: whoever schedules the work decides about another attempt."""

    def __init__(self, base_url: str, api_key: str, model: str, timeout: float) -> None:
        """`base_url` ends in /v1; `timeout` in seconds for one whole call."""
        self.model = model
        self._knows_schemas = True
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=0,
            # HTTP_PROXY and the like are for the way out, never for this machine.
            http_client=DefaultAsyncHttpxClient(
                trust_env=urlsplit(base_url).hostname not in _LOOPBACK, timeout=timeout
            ),
        )

    async def complete(self, instructions: str, text: str, form: AnswerForm) -> Completion:
        """The model's answer to `text` in the schema of `form`, as text.

        A server that refuses JSON schemas with 400 is asked once more for plain JSON. Raises
        ProviderUnavailableError, ExtractionError, MalformedExtractionError.
        """
        if self._knows_schemas:
            try:
                return await self._ask(instructions, text, _strict(form))
            except openai.BadRequestError:
                pass  # asked once more below
        described = f"{instructions}\n\n{form.instruction}"
        try:
            completion = await self._ask(described, text, _JSON_FORMAT)
        except openai.BadRequestError as error:
            raise ExtractionError(
                f"The model's server refused the request for {form.name} (400).",
                hint="Check IBEX_EXTRACTION_MODEL: the model may be unknown or too small.",
            ) from error
        self._knows_schemas = False
        return completion

    async def close(self) -> None:
        await self._client.close()

    async def _ask(
        self,
        instructions: str,
        text: str,
        response_format: ResponseFormatJSONSchema | ResponseFormatJSONObject,
    ) -> Completion:
        try:
            answer = await self._client.chat.completions.create(
                model=self.model,
                messages=[
                    {"role": "system", "content": instructions},
                    {"role": "user", "content": text},
                ],
                response_format=response_format,
            )
        except openai.BadRequestError:
            raise
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ProviderUnavailableError(
                f"The model's server refused the key ({error.status_code}).",
                hint="Check IBEX_PROVIDER_API_KEY or OPENAI_API_KEY.",
            ) from error
        except openai.APIStatusError as error:
            raise ProviderUnavailableError(
                f"The model's server answered {error.status_code}."
            ) from error
        except openai.APITimeoutError as error:
            raise ProviderUnavailableError("The model's server timed out.") from error
        except openai.APIError as error:
            raise ProviderUnavailableError(
                f"The model's server does not answer ({type(error).__name__})."
            ) from error
        try:
            return _completion(answer)
        except (AttributeError, TypeError) as error:  # the client library does not check types
            raise MalformedExtractionError("The model's server sent no chat completion.") from error


def _strict(form: AnswerForm) -> ResponseFormatJSONSchema:
    return {
        "type": "json_schema",
        "json_schema": {"name": form.name, "strict": True, "schema": dict(form.schema)},
    }


def _completion(answer: ChatCompletion) -> Completion:
    if not answer.choices:
        raise MalformedExtractionError("The model gave no answer.")
    choice = answer.choices[0]
    if choice.finish_reason == "length":
        raise MalformedExtractionError("The model's answer was cut at its token limit.")
    if choice.finish_reason == "content_filter" or choice.message.refusal:
        raise ExtractionError("The model refused to read this conversation.")
    usage = answer.usage
    return Completion(
        text=choice.message.content or "",
        model=answer.model,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
    )
