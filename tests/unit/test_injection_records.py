import pytest
from pydantic import TypeAdapter, ValidationError

from api.schemas.injections import Parts
from ibex.memory.model import ScoreParts
from ibex.stores.injections import named_parts

PARTS = ScoreParts(0.9, 0.8, 0.5, 0.7, 0.1)


def test_parts_are_read_in_the_order_they_are_recorded_in_and_by_name_as_before() -> None:
    assert named_parts(list(PARTS)) == PARTS._asdict()
    assert named_parts(PARTS._asdict()) == PARTS._asdict()
    assert named_parts(None) == named_parts([]) == {}
    with pytest.raises(ValueError, match="argument 2 is longer"):
        named_parts([*PARTS, 0.0])


def test_the_api_gives_them_by_name() -> None:
    shown = TypeAdapter(Parts)
    assert shown.validate_python(list(PARTS)) == PARTS._asdict()
    assert shown.validate_python(PARTS._asdict()) == PARTS._asdict()
    with pytest.raises(ValidationError):
        shown.validate_python([*PARTS, 0.0])
