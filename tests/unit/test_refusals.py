"""What servers say when a request is too long for them, copied from their answers and sources."""

import pytest

from ibex.extraction.refusals import refuses_format, refuses_length


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "context_length_exceeded", "Please reduce the length of the messages."),
        (400, None, "This model's maximum context length is 2048 tokens. However, you requested …"),
        (400, None, "the request exceeds the available context size, try increasing it"),
        (400, None, "the model is loaded with context length of only 4096 tokens, which is not …"),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        (422, None, "Prompt contains 40000 tokens, too large for 32768 maximum context length"),
        (413, None, "Payload Too Large"),
    ],
)
def test_a_request_that_is_too_long_is_known_by_what_is_said(
    status: int, code: str | None, message: str
) -> None:
    assert refuses_length(status, message, code)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Invalid schema for response_format 'memory_extraction'."),
        (400, "'response_format' of type 'json_schema' is not supported with this model."),
        (404, "The model `maximum-tokens` does not exist."),
        (500, "context length"),
    ],
)
def test_other_refusals_are_not_about_length(status: int, message: str) -> None:
    assert not refuses_length(status, message, None)


def test_the_form_of_an_answer_may_be_what_is_refused() -> None:
    assert [status for status in (400, 401, 404, 413, 422, 500) if refuses_format(status)] == [
        400,
        404,
        422,
    ]
