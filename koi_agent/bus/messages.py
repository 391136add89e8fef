"""Messages and their headers, by the D-Bus Specification's "Message Format"."""

from enum import IntEnum
from functools import lru_cache
from operator import attrgetter
from struct import Struct, unpack_from
from typing import Any, NamedTuple

from koi_agent.bus.marshalling import U32, marshal
from koi_agent.bus.reader import BIG, LITTLE, PLAIN, UNREADABLE, read_signature, reader, unmarshal
from koi_agent.core.errors import BadInput

__all__ = ["U32", "Header", "Message", "MessageType", "marshal"]

FIXED = Struct("<4BIII")
MESSAGE_LIMIT = 128 * 1024 * 1024
"""Bytes that a message may have."""


class MessageType(IntEnum):
    """The specification's message types."""

    CALL = 1
    RETURN = 2
    ERROR = 3
    SIGNAL = 4


class Flag(IntEnum):
    """The specification's message flags, as far as they are used."""

    NO_REPLY_EXPECTED = 1
    NO_AUTO_START = 2
    ALLOW_INTERACTIVE_AUTHORIZATION = 4


class Header:
    """The header of a message. A field that is absent is empty: on the wire none may be empty.

    The command starts a third faster without the module ``dataclasses``.
    """

    __slots__ = (
        *("kind", "flags", "serial", "path", "interface", "member", "error_name"),
        *("reply_serial", "destination", "sender", "signature"),
    )

    def __init__(  # noqa: PLR0913 - the fields of the specification
        self,
        *,
        kind: int,
        flags: int = 0,
        serial: int = 0,
        path: str = "",
        interface: str = "",
        member: str = "",
        error_name: str = "",
        reply_serial: int = 0,
        destination: str = "",
        sender: str = "",
        signature: str = "",
    ) -> None:
        self.kind = kind
        self.flags = flags
        self.serial = serial
        self.path = path
        self.interface = interface
        self.member = member
        self.error_name = error_name
        self.reply_serial = reply_serial
        self.destination = destination
        self.sender = sender
        self.signature = signature

    def __eq__(self, other: object) -> bool:
        """Compare all fields."""
        return isinstance(other, Header) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # its fields can change

    def __repr__(self) -> str:
        """Return the fields that are not empty."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return f"Header({', '.join(f'{name}={value!r}' for name, value in values if value)})"


# Attribute and type of each field, by the code that the specification gives it.
FIELDS = {
    1: ("path", b"o"),
    2: ("interface", b"s"),
    3: ("member", b"s"),
    4: ("error_name", b"s"),
    5: ("reply_serial", b"u"),
    6: ("destination", b"s"),
    7: ("sender", b"s"),
    8: ("signature", b"g"),
}
_OTHERS = {code: field for code, field in FIELDS.items() if field[0] != "path"}
_OTHERS_OF = attrgetter(*[name for name, _ in _OTHERS.values()])
# A field is in a variant, in a struct, in an array.
_FIELD_FORM = {endian: form._replace(depth=3) for endian, form in PLAIN.items()}
_FIELD_READERS = {
    endian: {
        bytes((code, 1)) + kind + b"\0": (name, reader(kind.decode(), form))
        for code, (name, kind) in FIELDS.items()
    }
    for endian, form in _FIELD_FORM.items()
}
"""Attribute and reader of a field, by byte order and by the field's first four bytes."""


class Message(NamedTuple):
    """A method call or a reply, whose body is not read yet.

    ``endian`` is the first byte of the message.
    """

    header: Header
    body: bytes
    endian: int

    def values(self, *, keep_variants: bool = False) -> list[Any]:
        """Read the body, as ``reader.unmarshal`` does; raises ``BadInput``."""
        return unmarshal(
            self.header.signature, self.body, endian=self.endian, keep_variants=keep_variants
        )


def padded(length: int) -> int:
    """Return a length rounded up to 8, where bodies, structs and dict entries begin."""
    return (length + 7) & ~7


def encode(header: Header, body: bytes = b"") -> bytes:
    """Return a little-endian message; the body is marshalled already."""
    # Most signals differ in their path alone. Making the other fields costs ten times a look-up.
    others = _fields if header.destination else _cached_fields
    array = others(*_OTHERS_OF(header))
    if header.path:
        path = _field(1, b"o", header.path)
        array = path + bytes(-len(path) % 8) + array if array else path
    fixed = FIXED.pack(LITTLE, header.kind, header.flags, 1, len(body), header.serial, len(array))
    return b"".join((fixed, array, bytes(-len(array) % 8), body))


def _fields(*values: str | int) -> bytes:
    """Return all fields but the path."""
    array = bytearray()
    for (code, (_, kind)), value in zip(_OTHERS.items(), values, strict=True):
        if value:
            array.extend(bytes(-len(array) % 8))
            array.extend(_field(code, kind, value))
    return bytes(array)


_cached_fields = lru_cache(maxsize=256)(_fields)


def _field(code: int, kind: bytes, value: str | int) -> bytes:
    start = bytes((code, 1)) + kind + b"\0"
    if isinstance(value, int):
        return start + U32.pack(value)
    text = value.encode()
    if kind == b"g":
        return b"%b%c%b\0" % (start, len(text), text)
    return b"%b%b%b\0" % (start, U32.pack(len(text)), text)


def decode(data: bytes | bytearray, start: int) -> Header:
    """Read the header of the message at ``start``; raises ``BadInput``."""
    try:
        return _decode(data, start)
    except UNREADABLE as error:
        raise BadInput(f"header: {error}") from error


def _decode(data: bytes | bytearray, start: int) -> Header:
    form, fields = _FIELD_FORM[data[start]], _FIELD_READERS[data[start]]
    _, kind, flags, _, _, serial, length = unpack_from(form.order + "4BIII", data, start)
    header = Header(kind=kind, flags=flags, serial=serial)
    head = bytes(data[start : start + 16 + length])
    at = 16
    while at < len(head):
        at += -at & 7
        if known := fields.get(head[at : at + 4]):
            name, read = known
            value, at = read(head, at + 4)
            setattr(header, name, value)
        else:
            # A field of a later version of the specification.
            signature, at = read_signature(head, at + 1)
            _, at = reader(signature, form)(head, at)
    if at != length + 16:
        raise BadInput("the fields end inside a value")
    return header


def extent(data: bytes | bytearray, start: int) -> tuple[int, int, int]:
    """Return three offsets of the message at ``start``, of which 16 bytes must be there.

    They are the end of the header's fields, and the start and end of the body. Raises
    ``BadInput`` if the stream is not D-Bus: no later byte can be trusted.
    """
    order, _, _, version, body, _, array = FIXED.unpack_from(data, start)
    if order == BIG:
        body, _, array = unpack_from(">III", data, start + 4)
    if order not in (LITTLE, BIG) or version != 1:
        raise BadInput(f"not a D-Bus message: {bytes(data[start : start + 4])!r}")
    fields = start + 16 + array
    begin = start + 16 + padded(array)
    end: int = begin + body
    if end - start > MESSAGE_LIMIT:
        raise BadInput(f"message of {end - start} bytes: the limit is {MESSAGE_LIMIT}")
    return fields, begin, end
