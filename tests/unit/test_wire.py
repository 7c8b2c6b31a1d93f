"""The short way to a message's bytes is the same as betterproto's own."""
# ruff: noqa: RUF009 — a field of betterproto is the result of a call

from dataclasses import dataclass
from typing import Any

import betterproto2
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from ibex.rpc import AssembleContextRequest, AssembleContextResponse
from ibex.rpc.messages.message_pool import default_message_pool
from ibex.rpc.wire import decoder, encoder


@dataclass(eq=False, repr=False)
class Sometimes(betterproto2.Message):
    number: "int | None" = betterproto2.field(1, betterproto2.TYPE_INT64, optional=True)
    text: "str | None" = betterproto2.field(2, betterproto2.TYPE_STRING, optional=True)
    share: "float" = betterproto2.field(3, betterproto2.TYPE_DOUBLE)
    numbers: "list[int]" = betterproto2.field(4, betterproto2.TYPE_UINT32, repeated=True)


@dataclass(eq=False, repr=False)
class Mapped(betterproto2.Message):
    names: "dict[str, str]" = betterproto2.field(
        1,
        betterproto2.TYPE_MAP,
        map_meta=betterproto2.map_meta(betterproto2.TYPE_STRING, betterproto2.TYPE_STRING),
    )


for _kind in (Sometimes, Mapped):
    default_message_pool.register_message("ibex.test", _kind.__name__, _kind)

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    betterproto2.TYPE_STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    betterproto2.TYPE_BYTES: st.binary(max_size=20),
    betterproto2.TYPE_BOOL: st.booleans(),
    betterproto2.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    betterproto2.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    betterproto2.TYPE_UINT32: st.integers(0, 2**32 - 1),
    betterproto2.TYPE_FLOAT: st.floats(0, 1, width=32),
    betterproto2.TYPE_DOUBLE: st.floats(0, 1),
}


def messages(kind: Any) -> st.SearchStrategy[Any]:
    """Any message of the kind."""
    fields = {}
    for name, meta in kind._betterproto.meta_by_field_name.items():
        if meta.proto_type == betterproto2.TYPE_MESSAGE:
            value = messages(kind._betterproto.cls_by_field[name])
            value = value if meta.repeated else st.none() | value
        else:
            value = _VALUES[meta.proto_type]
            value = st.none() | value if meta.optional else value
        fields[name] = st.lists(value, max_size=3) if meta.repeated else value
    return st.builds(kind, **fields)


@pytest.mark.parametrize("kind", [AssembleContextRequest, AssembleContextResponse, Sometimes])
@settings(max_examples=40)
@given(data=st.data())
def test_both_ways_are_betterprotos(kind: Any, data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    encoded = encoder(kind)(message)
    assert kind.parse(encoded) == message == decoder(kind)(bytes(message))
    assert decoder(kind)(encoded) == message


def test_what_is_not_set_is_told_from_nothing() -> None:
    unset, zero = Sometimes(), Sometimes(number=0, text="")
    for message in (unset, zero):
        decoded = decoder(Sometimes)(encoder(Sometimes)(message))
        assert (decoded.number, decoded.text) == (message.number, message.text)
    assert unset.number is None


def test_what_a_newer_version_says_is_passed_over() -> None:
    newer = encoder(Sometimes)(Sometimes(number=7, share=0.5))
    assert decoder(AssembleContextRequest)(newer + b"\xa2\x06\x01x") is not None
    assert decoder(Sometimes)(newer + b"\xa2\x06\x01x") == Sometimes(number=7, share=0.5)


def test_what_is_not_a_message_is_refused() -> None:
    with pytest.raises(DecodeError):
        decoder(AssembleContextRequest)(b"\xff\xff")
    with pytest.raises(TypeError, match=r"Mapped\.names"):
        encoder(Mapped)
