from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.cursor import decode_cursor, encode_cursor
from ibex.errors import InvalidRequestError
from ibex.ids import new_id


def test_a_cursor_is_the_last_id_again() -> None:
    last = new_id()
    assert decode_cursor(encode_cursor(last)) == last


@given(st.text(max_size=30))
def test_what_this_api_did_not_give_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        decode_cursor(text)


def test_another_spelling_or_kind_of_id_is_refused() -> None:
    cursor = encode_cursor(new_id())
    for wrong in (f"{cursor}==", f" {cursor}", encode_cursor(uuid4()), str(new_id())):
        with pytest.raises(InvalidRequestError):
            decode_cursor(wrong)
