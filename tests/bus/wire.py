"""Messages of either byte order, written as the specification says, and random values.

Nothing here comes from the product. That dbus-next reads these messages alike is tested in
test_messages.py.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from dbus_next.signature import SignatureTree, SignatureType, Variant
from hypothesis import strategies as st

Fields = Mapping[int, tuple[str, object]]
"""Header fields by code: signature and value."""
Typed = tuple[str, Any]

ALIGNMENT = dict(
    zip("ybnqiuxtdhsogav({", (1, 4, 2, 2, 4, 4, 8, 8, 8, 4, 4, 4, 1, 4, 1, 8, 8), strict=True)
)
NUMBERS = dict(zip("ynqiuxtdhb", "BhHiIqQdII", strict=True))


def body_of(signature: str, body: Sequence[object], *, big: bool = False) -> bytes:
    """Marshal a body."""
    out = bytearray()
    for kind, value in zip(SignatureTree(signature).types, body, strict=True):
        _put(out, kind, value, ">" if big else "<")
    return bytes(out)


def frame(
    kind: int,
    fields: Fields,
    signature: str = "",
    body: Sequence[object] = (),
    *,
    big: bool = False,
    flags: int = 0,
) -> bytes:
    """Marshal a message with these header fields and serial 7."""
    data = body_of(signature, body, big=big)
    every = {**fields, 8: ("g", signature)} if signature else fields
    array = [[code, Variant(type_, value)] for code, (type_, value) in every.items()]
    first = ord("B" if big else "l")
    head = body_of("yyyyuua(yv)", [first, kind, flags, 1, len(data), 7, array], big=big)
    return head + bytes(-len(head) % 8) + data


def _put(out: bytearray, kind: SignatureType, value: Any, order: str) -> None:
    out += bytes(-len(out) % ALIGNMENT[kind.token])
    match kind.token:
        case "s" | "o":
            data = value.encode()
            out += struct.pack(order + "I", len(data)) + data + b"\0"
        case "g":
            out += bytes([len(value)]) + value.encode() + b"\0"
        case "v":
            out += bytes([len(value.signature)]) + value.signature.encode() + b"\0"
            _put(out, value.type, value.value, order)
        case "(" | "{":
            for child, item in zip(kind.children, value, strict=True):
                _put(out, child, item, order)
        case "a":
            _put_array(out, kind.children[0], value, order)
        case token:
            out += struct.pack(order + NUMBERS[token], value)


def _put_array(out: bytearray, kind: SignatureType, value: Any, order: str) -> None:
    length = len(out)
    out += bytes(4)
    out += bytes(-len(out) % ALIGNMENT[kind.token])
    start = len(out)
    for item in value.items() if kind.token == "{" else value:
        _put(out, kind, item, order)
    struct.pack_into(order + "I", out, length, len(out) - start)


def plain(value: object) -> Any:
    """Replace each variant in a value by its content."""
    match value:
        case Variant():
            return plain(value.value)
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case _:
            return value


def paths() -> st.SearchStrategy[str]:
    element = st.text("abcXYZ019_", min_size=1, max_size=8)
    return st.lists(element, max_size=4).map(lambda parts: "/" + "/".join(parts))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
BASIC: Mapping[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 255),
    "b": st.booleans(),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
    "s": texts | st.sampled_from(["ActiveState", "SubState", "\x01s"]),
    "o": paths(),
    "g": st.sampled_from(["", "s", "a{sv}", "(ii)"]),
}


def _basic() -> st.SearchStrategy[Typed]:
    kinds = [st.tuples(st.just(kind), values) for kind, values in BASIC.items()]
    return st.one_of(*kinds, st.tuples(st.just("ay"), st.binary(max_size=15)))


def _grown(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    variants = inner.map(lambda one: Variant(*one))
    return st.one_of(
        variants.map(lambda value: ("v", value)),
        st.lists(texts, max_size=3).map(lambda value: ("as", value)),
        st.lists(variants, max_size=3).map(lambda value: ("av", value)),
        st.dictionaries(BASIC["s"], variants, max_size=3).map(lambda value: ("a{sv}", value)),
        st.dictionaries(BASIC["u"], texts, max_size=3).map(lambda value: ("a{us}", value)),
        st.lists(BASIC["x"], max_size=3).map(lambda value: ("ax", value)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda some: ("(" + "".join(kind for kind, _ in some) + ")", [v for _, v in some])
        ),
    )


VALUES = st.recursive(_basic(), _grown, max_leaves=6)
"""A signature of one complete type, and a value of it. Made once: making it takes long."""


def bodies() -> st.SearchStrategy[tuple[str, list[Any]]]:
    """Draw a whole body and its signature."""
    return st.lists(VALUES, max_size=4).map(
        lambda some: ("".join(kind for kind, _ in some), [value for _, value in some])
    )
