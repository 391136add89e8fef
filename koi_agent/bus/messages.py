"""Messages as bytes: headers by our own hand, bodies that are read by dbus-next's.

A header costs dbus-next five times what its body does, and every signal of every unit has
one. The format is the D-Bus Specification's "Message Format".
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from io import BytesIO
from struct import Struct, unpack_from
from struct import error as StructError  # noqa: N812 - the standard library's spelling
from typing import Any

from dbus_next._private.unmarshaller import MarshallerStreamEndError, Unmarshaller
from dbus_next.errors import InvalidMessageError
from dbus_next.signature import SignatureTree, Variant

from koi_agent.bus.marshalling import U32, marshal
from koi_agent.core.errors import BadInput

__all__ = ["U32", "Header", "MessageType", "Variant", "marshal"]

FIXED = Struct("<4BIII")
LITTLE, BIG = ord("l"), ord("B")
MESSAGE_LIMIT = 128 * 1024 * 1024
"""Bytes a message may have (D-Bus Specification, "Message Format")."""


class MessageType(IntEnum):
    """Message types of the specification."""

    CALL = 1
    RETURN = 2
    ERROR = 3
    SIGNAL = 4


class Flag(IntEnum):
    """Message flags of the specification."""

    NO_REPLY_EXPECTED = 1
    ALLOW_INTERACTIVE_AUTHORIZATION = 4


@dataclass(slots=True, kw_only=True)
class Header:
    """A message's header; absent fields are empty, as no field may be empty on the wire."""

    kind: int
    flags: int = 0
    serial: int = 0
    path: str = ""
    interface: str = ""
    member: str = ""
    error_name: str = ""
    reply_serial: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""


UNREADABLE = (
    EOFError,
    IndexError,
    InvalidMessageError,
    KeyError,
    MarshallerStreamEndError,
    RecursionError,
    StructError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
)
"""What reading bytes that are not what they claim to be may raise."""

FLAT = frozenset({"", "s", "so", "sss", "b", "u", "o"})
"""Signatures read by hand; of a stock reader they cost ten times as much."""
SIGNATURES_KEPT = 1024
"""dbus-next remembers every signature it saw, for ever; strangers choose them in variants."""

# Field code → attribute and type, in the specification's order.
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


SIMPLE = frozenset(kind for _, kind in FIELDS.values())


def padded(length: int) -> int:
    """Round up to the 8 bytes at which bodies, structs and dict entries begin."""
    return (length + 7) & ~7


def encode(header: Header, body: bytes = b"") -> bytes:
    """Make a little-endian message of a header and a body marshalled for its signature."""
    fields = _fields if header.destination else _fields_again
    array = fields(*[getattr(header, name) for name, _ in FIELDS.values()])
    fixed = FIXED.pack(LITTLE, header.kind, header.flags, 1, len(body), header.serial, len(array))
    return b"".join((fixed, array, bytes(-len(array) % 8), body))


def _fields(*values: str | int) -> bytes:
    array = bytearray()
    for (code, (_, kind)), value in zip(FIELDS.items(), values, strict=True):
        if value:
            array.extend(bytes(-len(array) % 8))
            array.extend(_field(code, kind, value))
    return bytes(array)


_fields_again = lru_cache(maxsize=256)(_fields)
"""For signals, of which most have the same few headers: a new one costs ten times as much."""


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
        raise BadInput(f"unreadable header: {type(error).__name__}") from error


def _decode(data: bytes | bytearray, start: int) -> Header:
    order = "<" if data[start] == LITTLE else ">"
    _, kind, flags, _, _, serial, length = unpack_from(order + "4BIII", data, start)
    header = Header(kind=kind, flags=flags, serial=serial)
    array = data[start + 16 : start + 16 + length]
    at = 0
    while at < len(array):
        at = _read_field(order, array, padded(at), header)
    return header


def _read_field(order: str, array: bytes | bytearray, at: int, header: Header) -> int:
    code, kind = array[at], bytes(array[at + 2 : at + 2 + array[at + 1]])
    if kind not in SIMPLE:
        return _skip_field(order, array, at + 1)
    at += 4
    if kind == b"u":
        value: str | int = unpack_from(order + "I", array, at)[0]
        end = at + 4
    else:
        width = 1 if kind == b"g" else 4
        size = array[at] if kind == b"g" else unpack_from(order + "I", array, at)[0]
        value = array[at + width : at + width + size].decode()
        end = at + width + size + 1
    if end > len(array):
        raise BadInput(f"header field {code} reaches past its header")
    name, expected = FIELDS.get(code, ("", kind))
    if name and kind == expected:
        setattr(header, name, value)
    return end


def _skip_field(order: str, array: bytes | bytearray, at: int) -> int:
    """Pass over a variant of a type that no field we know has; a later version may have one."""
    reader = Unmarshaller(BytesIO(array))
    reader.endian = LITTLE if order == "<" else BIG
    reader.read(at)
    reader.read_variant()
    return int(reader.offset)


def extent(data: bytes | bytearray, start: int) -> tuple[int, int, int]:
    """Tell of the message at ``start`` where its header's fields end, its body begins and ends.

    Its first 16 bytes must be there.

    Raises ``BadInput`` where the stream can't be D-Bus: nothing after it can be trusted.
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
        raise BadInput(f"message of {end - start} bytes")
    return fields, begin, end


def unmarshal(signature: str, body: bytes, *, endian: int = LITTLE) -> list[Any]:
    """Read a body; raises ``BadInput``."""
    if endian == LITTLE and signature in FLAT:
        return _flat(signature, body)
    if len(SignatureTree._cache) > SIGNATURES_KEPT:
        SignatureTree._cache.clear()
    reader = Unmarshaller(BytesIO(body))
    reader.endian = endian
    try:
        return [reader.read_argument(kind) for kind in SignatureTree._get(signature).types]
    except UNREADABLE as error:
        raise BadInput(f"body is not {signature!r}: {type(error).__name__}") from error
    finally:
        reader.readers.clear()  # its own methods: thousands of such cycles stop us to be collected


def _flat(signature: str, body: bytes) -> list[Any]:
    """Read strings and 32-bit numbers in a row: what signals of names and states are made of."""
    values: list[Any] = []
    at = 0
    try:
        for kind in signature:
            at += -at % 4
            number = U32.unpack_from(body, at)[0]
            at += 4
            if kind in "so":
                values.append(_text(body, at, at + number))
                at += number + 1
            else:
                values.append(bool(number) if kind == "b" else number)
    except UNREADABLE as error:
        raise BadInput(f"body is not {signature!r}: {type(error).__name__}") from error
    return values


def _text(body: bytes, start: int, end: int) -> str:
    if end >= len(body):
        raise IndexError("a string reaches past its body")
    return body[start:end].decode()


def plain(value: object) -> Any:
    """Take the variants out of a value."""
    match value:
        case Variant():
            return plain(value.value)
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case _:
            return value
