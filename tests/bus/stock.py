"""Messages made and read by stock dbus-next, of either byte order, and random ones."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from dbus_next._private import marshaller
from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.signature import Variant
from hypothesis import strategies as st

Fields = Mapping[int, tuple[str, object]]
Typed = tuple[str, Any]

STOCK: Any = marshaller.Marshaller
READER: Any = Unmarshaller


def body_of(signature: str, body: Sequence[object]) -> bytes:
    return bytes(STOCK(signature, list(body)).marshall()) if signature else b""


def frame(
    kind: int,
    fields: Fields,
    signature: str = "",
    body: Sequence[object] = (),
    *,
    big: bool = False,
    flags: int = 0,
) -> bytes:
    """Make a message with these header fields."""
    with byte_order(big=big):
        data = body_of(signature, body)
        every = {**fields, 8: ("g", signature)} if signature else fields
        array = [[code, Variant(type_, value)] for code, (type_, value) in every.items()]
        first = ord("B" if big else "l")
        head = STOCK("yyyyuua(yv)", [first, kind, flags, 1, len(data), 7, array])
        head.marshall()
        head.align(8)
        return bytes(head.buffer) + data


@contextmanager
def byte_order(*, big: bool) -> Iterator[None]:
    """Have dbus-next write numbers the other way round, which it can't itself."""
    usual = marshaller.pack  # type: ignore[attr-defined]  # an import of theirs
    if big:
        marshaller.pack = lambda code, *values: struct.pack(  # type: ignore[attr-defined]
            code.replace("<", ">"), *values
        )
    try:
        yield
    finally:
        marshaller.pack = usual  # type: ignore[attr-defined]


def parsed(data: bytes) -> Any:
    """Read a message as dbus-next does."""
    return READER(BytesIO(data)).unmarshall()


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


def typed() -> st.SearchStrategy[Typed]:
    """Draw a signature of one complete type, and a value of it."""
    basic = st.sampled_from(sorted(BASIC)).flatmap(
        lambda kind: BASIC[kind].map(lambda value: (kind, value))
    )
    return st.recursive(
        basic | st.binary(max_size=15).map(lambda v: ("ay", v)), _grown, max_leaves=6
    )


def _grown(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    variants = inner.map(lambda one: Variant(*one))
    return st.one_of(
        variants.map(lambda value: ("v", value)),
        st.lists(texts, max_size=3).map(lambda value: ("as", value)),
        st.lists(variants, max_size=3).map(lambda value: ("av", value)),
        st.dictionaries(BASIC["s"], variants, max_size=3).map(lambda value: ("a{sv}", value)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda some: ("(" + "".join(kind for kind, _ in some) + ")", [v for _, v in some])
        ),
    )


def bodies() -> st.SearchStrategy[tuple[str, list[Any]]]:
    """Draw a whole body and its signature."""
    return st.lists(typed(), max_size=4).map(
        lambda some: ("".join(kind for kind, _ in some), [value for _, value in some])
    )
