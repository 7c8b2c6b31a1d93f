from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.access_tokens import new_token, parse_token
from ibex.errors import AuthenticationError


@given(st.uuids())
def test_a_token_carries_its_id(token_id: UUID) -> None:
    token = new_token(token_id)
    assert parse_token(token.text) == token
    assert token.id == token_id


@given(st.uuids(), st.integers(0, 79), st.sampled_from("aZ9_é"))
def test_one_wrong_character_is_seen_without_a_database(
    token_id: UUID, place: int, letter: str
) -> None:
    text = new_token(token_id).text
    if text[place] == letter:
        return
    with pytest.raises(AuthenticationError):
        parse_token(text[:place] + letter + text[place + 1 :])


@pytest.mark.parametrize("text", ["", "ibex_pat_", "sk-123", "ibex_pat_" + "0" * 71, "é" * 80])
def test_other_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(AuthenticationError):
        parse_token(text)


def test_the_secret_is_not_shown() -> None:
    token = new_token(UUID(int=1))
    assert token.text not in repr(token)
