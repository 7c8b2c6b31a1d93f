"""The log of a session, made again from its records."""

from uuid import uuid4

from ibex.memory.pinning import FRONT, Decision, Pinned
from ibex.stores.injections import folded


def test_the_latest_record_of_a_place_holds_and_earlier_forms_are_read() -> None:
    first, second = Pinned(uuid4(), 1, b"12345678"), Pinned(uuid4(), 3, b"abcdefgh")
    named = {"memory_id": str(first.id), "version": 1, "digest": first.digest.hex()}
    listed = [str(second.id), 3, second.digest.hex()]
    later = (b"l" * 16).hex()
    log = folded(
        [
            [{"place": 0, "anchor": "", "memories": [named, listed]}],
            [{"place": 2, "anchor": later, "memories": []}],
            [{"place": 0, "anchor": "", "memories": [listed]}],
        ]
    )
    assert log == {
        FRONT: Decision(0, FRONT, (second,)),
        b"l" * 16: Decision(2, b"l" * 16),
    }
    assert folded([[{"place": 0, "anchor": "", "memories": [named]}]])[FRONT].memories == (first,)
