"""Reading values, by the D-Bus Specification's "Marshaling (Wire Format)".

A signature is compiled into functions once, for each byte order, and the functions are kept.
Every value that the agent gets from a bus is read here: headers, bodies and single properties.
Padding is skipped without a look at its bytes.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 - the standard library's spelling
from typing import Any, NamedTuple

from koi_agent.bus import signatures
from koi_agent.bus.signatures import SignatureType
from koi_agent.core.errors import BadInput

LITTLE, BIG = ord("l"), ord("B")
ARRAY_LIMIT = 64 * 1024 * 1024
"""Bytes an array may have."""
DEPTH_LIMIT = 64
"""Containers in each other that a value may have, variants included."""
READERS_KEPT = 512
"""Compiled signatures that are remembered. Other clients choose them, so they are bounded."""

Read = Callable[[bytes, int], tuple[Any, int]]
"""Reads the value at an offset; returns it and the offset after it.

Offset 0 must be a multiple of 8 of the message. Raises one of ``UNREADABLE``.
"""
Extent = Callable[[bytes, int], tuple[int, int]]
"""Returns where the items of the array at an offset begin and end."""

UNREADABLE = (BadInput, IndexError, StructError, ValueError)
"""What reading bytes that are not of the signature may raise."""

_NUMBERS = dict(zip("ynqiuxtdh", "BhHiIqQdI", strict=True))
EIGHTS = frozenset("xtd({")
"""Types that begin at a multiple of eight."""
_PATH = re.compile("/(?:[A-Za-z0-9_]+(?:/[A-Za-z0-9_]+)*)?")


class Form(NamedTuple):
    """How values are read.

    ``order`` is "<" or ">". With ``keep_variants`` a variant becomes a ``Variant``, otherwise
    its value. ``depth`` counts the containers around the value.
    """

    order: str
    keep_variants: bool = False
    depth: int = 0

    @property
    def inner(self) -> "Form":
        """The form of what a container holds."""
        if self.depth >= DEPTH_LIMIT:
            raise BadInput(f"more than {DEPTH_LIMIT} containers in each other")
        return self._replace(depth=self.depth + 1)


PLAIN = {LITTLE: Form("<"), BIG: Form(">")}
KEPT = {LITTLE: Form("<", keep_variants=True), BIG: Form(">", keep_variants=True)}


def unmarshal(
    signature: str, body: bytes, *, endian: int = LITTLE, keep_variants: bool = False
) -> list[Any]:
    """Read a whole body; raises ``BadInput``.

    Structs become lists, arrays of bytes ``bytes``, and variants their values unless they are
    kept.
    """
    values: list[Any] = []
    at = 0
    try:
        for read in _body(signature, (KEPT if keep_variants else PLAIN)[endian]):
            value, at = read(body, at)
            values.append(value)
    except UNREADABLE as error:
        raise BadInput(f"body is not {signature!r}: {error}") from error
    if at != len(body):
        raise BadInput(f"body is not {signature!r}: {len(body) - at} bytes are left over")
    return values


@lru_cache(maxsize=READERS_KEPT)
def _body(signature: str, form: Form) -> tuple[Read, ...]:
    return tuple(_reader(kind, form) for kind in signatures.parse(signature))


@lru_cache(maxsize=READERS_KEPT)
def reader(signature: str, form: Form) -> Read:
    """Compile a reader for a signature of one complete type; raises ``ValueError``."""
    (kind,) = signatures.parse(signature)
    return _reader(kind, form)


def _reader(kind: SignatureType, form: Form) -> Read:
    match kind.token:
        case "s":
            return _text(form.order)
        case "o":
            return _path(form.order)
        case "g":
            return _signature
        case "b":
            return _boolean(form.order)
        case "v":
            return _variant(form.inner)
        case "(" | "{":
            return _struct([_reader(child, form.inner) for child in kind.children])
        case "a":
            return _array(kind.children[0], form)
        case token:
            return _number(_NUMBERS[token], form.order)


def _number(code: str, order: str) -> Read:
    number = Struct(order + code)
    width, mask, unpack = number.size, number.size - 1, number.unpack_from

    def read(data: bytes, at: int) -> tuple[Any, int]:
        at += -at & mask
        return unpack(data, at)[0], at + width

    return read


def _boolean(order: str) -> Read:
    read_number = _number("I", order)

    def read(data: bytes, at: int) -> tuple[bool, int]:
        value, at = read_number(data, at)
        if value > 1:
            raise BadInput(f"a boolean is {value}")
        return value == 1, at

    return read


def _text(order: str) -> Read:
    unpack = Struct(order + "I").unpack_from

    def read(data: bytes, at: int) -> tuple[str, int]:
        at += 4 + (-at & 3)
        end = at + unpack(data, at - 4)[0]
        if data.find(0, at) != end:
            raise BadInput("a string does not end with its only NUL")
        return data[at:end].decode(), end + 1

    return read


def _path(order: str) -> Read:
    read_text = _text(order)

    def read(data: bytes, at: int) -> tuple[str, int]:
        path, at = read_text(data, at)
        if not _PATH.fullmatch(path):
            raise BadInput("an object path is not valid")
        return path, at

    return read


def skip(kind: SignatureType, form: Form, data: bytes, at: int) -> int:
    """Return the offset after a value, without reading it; see ``Read``."""
    match kind.token:
        case "a":
            alignment = 8 if kind.children[0].token in EIGHTS else 4
            return array_extent(alignment, form.order)(data, at)[1]
        case "s" | "o":
            return array_extent(4, form.order)(data, at)[1] + 1
        case "g":
            return at + data[at] + 2
        case "v":
            signature, at = read_signature(data, at)
            (content,) = signatures.parse(signature)
            return skip(content, form.inner, data, at)
        case "(":
            at += -at & 7
            for child in kind.children:
                at = skip(child, form.inner, data, at)
            return at
        case token:
            width = 4 if token == "b" else Struct("=" + _NUMBERS[token]).size
            return at + (-at & (width - 1)) + width


def read_signature(data: bytes, at: int) -> tuple[str, int]:
    """Read a signature without validating it; see ``Read``."""
    end = at + 1 + data[at]
    if data[end]:
        raise BadInput("a signature does not end with NUL")
    return data[at + 1 : end].decode("ascii"), end + 1


def _signature(data: bytes, at: int) -> tuple[str, int]:
    signature, at = read_signature(data, at)
    signatures.parse(signature)
    return signature, at


def _variant(inner: Form) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        end = at + data[at] + 2
        return _content(data[at:end], inner)(data, end)

    return read


@lru_cache(maxsize=READERS_KEPT)
def _content(marshalled: bytes, form: Form) -> Read:
    """Compile a reader for the value of a variant with this marshalled signature."""
    (kind,) = signatures.parse(_signature(marshalled, 0)[0])
    read_value = _reader(kind, form)
    if not form.keep_variants:
        return read_value
    # Imported here because the command keeps no variants, and starts faster.
    from koi_agent.bus.variants import kept  # noqa: PLC0415

    return kept(kind.signature, read_value)


def _struct(members: Sequence[Read]) -> Read:
    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        at += -at & 7
        values = []
        for member in members:
            value, at = member(data, at)
            values.append(value)
        return values, at

    return read


def _array(kind: SignatureType, form: Form) -> Read:
    extent = array_extent(8 if kind.token in EIGHTS else 4, form.order)
    if kind.token == "y":

        def read(data: bytes, at: int) -> tuple[bytes, int]:
            at, end = extent(data, at)
            return data[at:end], end

        return read
    if kind.token == "{":
        key, value = (_reader(child, form.inner.inner) for child in kind.children)
        return _dictionary(extent, key, value)
    return list_reader(extent, _reader(kind, form.inner))


@lru_cache(maxsize=4)
def array_extent(alignment: int, order: str) -> Extent:
    """Compile ``Extent`` for arrays whose items have this alignment, 4 or 8."""
    unpack = Struct(order + "I").unpack_from
    mask = alignment - 1

    def extent(data: bytes, at: int) -> tuple[int, int]:
        at += -at & 3
        size = unpack(data, at)[0]
        at += 4
        at += -at & mask
        if size > ARRAY_LIMIT or at + size > len(data):
            raise BadInput(f"an array of {size} bytes")
        return at, at + size

    return extent


def list_reader(extent: Extent, item: Read) -> Read:
    """Compile a reader of an array as a list, from a reader of its items."""

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        at, end = extent(data, at)
        values = []
        while at < end:
            value, at = item(data, at)
            values.append(value)
        if at != end:
            raise BadInput("an array ends inside an item")
        return values, at

    return read


def _dictionary(extent: Extent, key: Read, value: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[dict[Any, Any], int]:
        at, end = extent(data, at)
        values = {}
        while at < end:
            name, at = key(data, at + (-at & 7))
            values[name], at = value(data, at)
        if at != end:
            raise BadInput("an array ends inside an item")
        return values, at

    return read
