"""Values as bytes, by the D-Bus Specification's "Marshaling (Wire Format)".

dbus-next writes the same bytes and takes four times as long, for it checks every value and
then goes through its signature again. Here a signature is turned into functions once.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

from koi_agent.bus import signatures
from koi_agent.bus.reader import ARRAY_LIMIT, EIGHTS
from koi_agent.bus.signatures import SignatureType

U32 = Struct("<I")

Write = Callable[[bytearray, Any], None]
"""Appends a value to a message, padded to its type's alignment."""

NUMBERS = {kind: Struct("<" + code) for kind, code in zip("ynqiuxtdh", "BhHiIqQdI", strict=True)}
_PATH = re.compile(r"/|(/[A-Za-z0-9_]+)+")
_ZEROS = tuple(bytes(length) for length in range(8))


class Typed(NamedTuple):
    """A variant's signature and value, which nobody has checked against each other yet."""

    signature: str
    value: Any


def marshal(signature: str, body: Sequence[Any]) -> bytes:
    """Marshal a body; a value that does not fit its signature is our bug and raises.

    What no D-Bus string may hold (NUL, lone surrogates) becomes a replacement character.
    """
    out = bytearray()
    for write, value in zip(_writers(signature), body, strict=True):
        write(out, value)
    return bytes(out)


@lru_cache(maxsize=1024)
def _writers(signature: str) -> tuple[Write, ...]:
    return tuple(_writer(kind) for kind in signatures.parse(signature))


def _writer(kind: SignatureType) -> Write:
    match kind.token:
        case "s":
            return _write_text
        case "o":
            return _write_path
        case "g":
            return _write_signature
        case "b":
            return _write_truth
        case "v":
            return _write_variant
        case "(":
            return _struct([_writer(child) for child in kind.children])
        case "a":
            return _array(kind.children[0])
        case token:
            return _number(NUMBERS[token])


def _number(form: Struct) -> Write:
    width, pack = form.size, form.pack

    def write(out: bytearray, value: Any) -> None:
        out += _ZEROS[-len(out) % width]
        out += pack(value)

    return write


def _write_truth(out: bytearray, value: Any) -> None:
    out += _ZEROS[-len(out) & 3]
    out += U32.pack(bool(value))


def _write_text(out: bytearray, value: Any) -> None:
    if "\0" in value or not value.isascii():
        value = value.replace("\0", "\ufffd").encode(errors="replace").decode()
    data = value.encode()
    out += b"%b%b%b\0" % (_ZEROS[-len(out) & 3], U32.pack(len(data)), data)


def _write_path(out: bytearray, value: Any) -> None:
    if not _PATH.fullmatch(value):
        raise ValueError(f"{value!r} is no object path")
    _write_text(out, value)


def _write_signature(out: bytearray, value: Any) -> None:
    data = value.encode()
    out += b"%c%b\0" % (len(data), data)


def _write_variant(out: bytearray, value: Any) -> None:
    _write_signature(out, value.signature)
    (write,) = _writers(value.signature)
    write(out, value.value)


def _struct(members: Sequence[Write]) -> Write:
    def write(out: bytearray, value: Any) -> None:
        out += _ZEROS[-len(out) & 7]
        for member, item in zip(members, value, strict=True):
            member(out, item)

    return write


def _array(kind: SignatureType) -> Write:
    """Write arrays of this kind: dictionaries, byte strings, or anything in a row."""
    alignment = 8 if kind.token in EIGHTS else 1
    write_items = _items(kind)

    def write(out: bytearray, value: Any) -> None:
        out += _ZEROS[-len(out) & 3]
        at = len(out)
        out += _ZEROS[4]
        out += _ZEROS[-len(out) % alignment]
        start = len(out)
        write_items(out, value)
        if len(out) - start > ARRAY_LIMIT:
            raise ValueError(f"an array of {len(out) - start} bytes")
        U32.pack_into(out, at, len(out) - start)

    return write


def _items(kind: SignatureType) -> Write:
    match kind.token, [child.token for child in kind.children]:
        case "y", _:
            return bytearray.extend
        case "{", ["s", "v"]:
            return _write_named
        case "{", _:
            return _pairs(*[_writer(child) for child in kind.children])
        case _:
            return _row(_writer(kind))


def _row(item: Write) -> Write:
    def write(out: bytearray, value: Iterable[Any]) -> None:
        for each in value:
            item(out, each)

    return write


def _pairs(key: Write, value: Write) -> Write:
    def write(out: bytearray, pairs: Any) -> None:
        for name, item in pairs.items():
            out += _ZEROS[-len(out) & 7]
            key(out, name)
            value(out, item)

    return write


def _write_named(out: bytearray, named: Any) -> None:
    """Write the entries of an ``a{sv}``, of which our messages mostly are."""
    for name, item in named.items():
        head, write = _head(name, item.signature)
        out += _ZEROS[-len(out) & 7]
        out += head
        write(out, item.value)


@lru_cache(maxsize=1024)
def _head(name: str, signature: str) -> tuple[bytes, Write]:
    """Write what an ``a{sv}``'s entry begins with; returns it and what writes the rest."""
    out = bytearray()
    _write_text(out, name)
    _write_signature(out, signature)
    (write,) = _writers(signature)
    return bytes(out), write
