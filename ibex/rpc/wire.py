"""The bytes of a message, made and read by protobuf's C library.

betterproto's own `bytes(message)` and `Message.parse` go through every field in Python: several
milliseconds for an answer with a hundred memories, at both ends, while nothing else runs. The wire
format is the same, and so are the dataclasses; only the way between them is shorter.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import betterproto2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

M = TypeVar("M", bound=betterproto2.Message)

# A message of the C library and its class, which are only known at run time.
_Native = Any
_NativeClass = Any
_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "ibex.wire"


def encoder(kind: type[M]) -> Callable[[M], bytes]:
    """Raises TypeError for a field that is a map, one of several, an enum or a wrapper."""
    native, plain = _native(kind), _to_plain(kind)

    def encode(message: M) -> bytes:
        encoded: bytes = native(**plain(message)).SerializeToString()
        return encoded

    return encode


def decoder(kind: type[M]) -> Callable[[bytes], M]:
    """Raises TypeError as `encoder` does; what it returns raises protobuf's DecodeError."""
    native, build = _native(kind), _from_native(kind)

    def decode(data: bytes) -> M:
        message: M = build(native.FromString(data))
        return message

    return decode


@cache
def _native(kind: type[betterproto2.Message]) -> _NativeClass:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{kind.__name__}.proto", package=_PACKAGE, syntax="proto3"
    )
    _describe(kind, file, set())
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"{_PACKAGE}.{kind.__name__}")
    return message_factory.GetMessageClass(found)


def _describe(
    kind: type[betterproto2.Message], file: descriptor_pb2.FileDescriptorProto, done: set[str]
) -> None:
    if kind.__name__ in done:
        return
    done.add(kind.__name__)
    described = file.message_type.add(name=kind.__name__)
    for name, meta in _fields(kind).items():
        if meta.map_meta or meta.group or meta.unwrap or meta.proto_type == betterproto2.TYPE_ENUM:
            raise TypeError(f"{kind.__name__}.{name} is of a kind that is not supported here.")
        field = described.field.add(
            name=name,
            number=meta.number,
            type=_Field.Type.Value(f"TYPE_{meta.proto_type.upper()}"),
            label=_Field.LABEL_REPEATED if meta.repeated else _Field.LABEL_OPTIONAL,
        )
        if meta.proto_type == betterproto2.TYPE_MESSAGE:
            inner = _inner(kind, name)
            field.type_name = f".{_PACKAGE}.{inner.__name__}"
            _describe(inner, file, done)
        elif meta.optional:
            # Presence of a scalar: proto3 keeps it in a oneof of its own.
            field.proto3_optional = True
            field.oneof_index = len(described.oneof_decl)
            described.oneof_decl.add(name=f"_{name}")


@cache
def _to_plain(kind: type[betterproto2.Message]) -> Callable[[Any], dict[str, Any]]:
    """A message as the arguments of its native class."""
    fields = _fields(kind)
    inner = {
        name: (_to_plain(_inner(kind, name)), bool(meta.repeated))
        for name, meta in fields.items()
        if meta.proto_type == betterproto2.TYPE_MESSAGE
    }
    names = tuple(fields)

    def plain(message: Any) -> dict[str, Any]:
        own = message.__dict__
        values = {name: own[name] for name in names}
        for name, (convert, repeated) in inner.items():
            value = values[name]
            if repeated:
                values[name] = [convert(one) for one in value]
            elif value is not None:
                values[name] = convert(value)
        return values

    return plain


@cache
def _from_native(kind: type[betterproto2.Message]) -> Callable[[_Native], Any]:
    fields = _fields(kind)
    plain: list[str] = []
    lists: list[str] = []
    optional: list[str] = []
    single: list[tuple[str, Callable[[_Native], Any]]] = []
    many: list[tuple[str, Callable[[_Native], Any]]] = []
    for name, meta in fields.items():
        if meta.proto_type == betterproto2.TYPE_MESSAGE:
            target = many if meta.repeated else single
            target.append((name, _from_native(_inner(kind, name))))
        elif meta.repeated:
            lists.append(name)
        else:
            (optional if meta.optional else plain).append(name)

    def build(native: _Native) -> Any:
        values = {name: getattr(native, name) for name in plain}
        for name in lists:
            values[name] = list(getattr(native, name))
        for name, convert in many:
            values[name] = [convert(one) for one in getattr(native, name)]
        for name, convert in single:
            values[name] = convert(getattr(native, name)) if native.HasField(name) else None
        for name in optional:
            values[name] = getattr(native, name) if native.HasField(name) else None
        return kind(**values)

    return build


def _fields(kind: type[betterproto2.Message]) -> dict[str, betterproto2.FieldMetadata]:
    fields: dict[str, betterproto2.FieldMetadata] = _metadata(kind).meta_by_field_name
    return fields


def _inner(kind: type[betterproto2.Message], name: str) -> type[betterproto2.Message]:
    inner: type[betterproto2.Message] = _metadata(kind).cls_by_field[name]
    return inner


def _metadata(kind: Any) -> Any:
    return kind._betterproto  # noqa: SLF001 — the only place where it says what a message is
