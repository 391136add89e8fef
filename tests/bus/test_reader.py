"""The reader of values: its limits, and bytes that are not what they claim to be."""

import gc
import struct
from contextlib import suppress
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from dbus_next.signature import SignatureTree, SignatureType
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.bus import reader, signatures
from koi_agent.bus.reader import BIG, LITTLE, PLAIN, skip, unmarshal
from koi_agent.bus.variants import Variant
from koi_agent.core.errors import BadInput
from tests.bus.wire import VALUES, bodies, body_of


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def string(text: bytes) -> bytes:
    return u32(len(text)) + text + b"\0"


@settings(deadline=None)
@given(one=VALUES, big=st.booleans())
def test_skip_ends_where_reading_ends(one: tuple[str, Any], *, big: bool) -> None:
    (kind,) = signatures.parse(one[0])
    data = body_of(one[0], [one[1]], big=big)
    assert skip(kind, PLAIN[BIG if big else LITTLE], data, 0) == len(data)


@settings(deadline=None)
@given(body=bodies(), data=st.data())
def test_damaged_body_is_bad_input_and_nothing_else(
    body: tuple[str, list[Any]], data: st.DataObject
) -> None:
    good = bytearray(body_of(*body))
    for at in data.draw(st.lists(st.integers(0, max(0, len(good) - 1)), max_size=4)):
        if good:
            good[at] = data.draw(st.integers(0, 255))
    with suppress(BadInput):
        unmarshal(body[0], bytes(good), keep_variants=data.draw(st.booleans()))


@settings(deadline=None)
@given(body=bodies(), data=st.data())
def test_body_that_is_cut_or_too_long_is_bad_input(
    body: tuple[str, list[Any]], data: st.DataObject
) -> None:
    good = body_of(*body)
    cut = data.draw(st.integers(0, len(good)))
    for bad in (good[:cut] if cut < len(good) else good + b"\0", good + bytes(8)):
        with pytest.raises(BadInput):
            unmarshal(body[0], bad)


@pytest.mark.parametrize(
    ("signature", "body", "reason"),
    [
        ("s", string(b"\xff"), "utf-8"),
        ("s", u32(1) + b"ab", "NUL"),
        ("s", string(b"a\0b"), "NUL"),
        ("s", u32(0xFFFFFFFF) + b"a\0", "NUL"),
        ("s", b"\0\0", "buffer"),
        ("o", string(b""), "object path"),
        ("o", string(b"a/b"), "object path"),
        ("o", string(b"/a/"), "object path"),
        ("o", string(b"//a"), "object path"),
        ("o", string("/ä".encode()), "object path"),
        ("o", string(b"/a\n"), "object path"),
        ("b", u32(2), "boolean"),
        ("g", b"\2a(\0", "struct"),
        ("g", b"\1ss", "NUL"),
        ("g", b"\1\xff\0", "ascii"),
        ("v", b"\2ss\0" + bytes(10), "too many values"),
        ("v", b"\0\0", "not enough values"),
        ("v", b"\1s\1" + bytes(5), "NUL"),
        ("v", b"\1sx", "NUL"),
        ("v", b"\4a{vs\0" + bytes(8), "missing closing"),
        ("v", b"\5a{vs}\0" + bytes(8), "basic type"),
        ("v", b"\4{ss}\0" + bytes(12), "outside an array"),
        ("v", b"\2()\0" + bytes(8), "token"),
        ("v", b"\x22" + b"a" * 33 + b"y\0" + bytes(8), "containers in each other"),
        ("v", b"\x43" + b"(" * 33 + b"y" + b")" * 33 + b"\0" + bytes(8), "in each other"),
        ("as", u32(9) + string(b"a") + bytes(8), "inside an item"),
        ("as", u32(100) + string(b"a"), "an array of 100 bytes"),
        ("ay", u32(0xFFFFFFFF) + b"a", "an array of 4294967295 bytes"),
        ("at", u32(0), "an array of 0 bytes"),
        ("a{sv}", u32(4) + bytes(8), "buffer|inside|index|NUL"),
        ("y", b"ab", "left over"),
    ],
)
def test_what_the_specification_forbids_is_bad_input(
    signature: str, body: bytes, reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        unmarshal(signature, body)


def test_array_may_have_64_mebibytes_and_no_more() -> None:
    most = 64 * 2**20
    (array,) = unmarshal("ay", u32(most) + bytes(most))
    assert len(array) == most
    with pytest.raises(BadInput, match="an array of"):
        unmarshal("ay", u32(most + 1) + bytes(most + 1))


def nested(depth: int) -> bytes:
    return b"\1v\0" * (depth - 1) + b"\1y\0\7"


def test_value_may_have_64_containers_in_each_other() -> None:
    assert unmarshal("v", nested(64)) == [7]
    deep = unmarshal("v", nested(64), keep_variants=True)[0]
    for _ in range(63):
        deep = deep.value
    assert deep == Variant("y", 7)
    for depth in (65, 5000):
        with pytest.raises(BadInput, match="64 containers"):
            unmarshal("v", nested(depth))
        (kind,) = signatures.parse("v")
        with pytest.raises(BadInput, match="64 containers"):
            skip(kind, PLAIN[LITTLE], nested(depth), 0)


def test_arrays_and_structs_may_be_nested_32_times_each() -> None:
    signature = "a" * 32 + "(" * 32 + "y" + ")" * 32
    assert unmarshal(signature, u32(0)) == [[]]


@pytest.mark.parametrize("signature", ["(", "a", "a{s}", "a{sss}", "!", "y" * 256, "a{sv", ")"])
def test_signature_that_is_not_valid_is_bad_input(signature: str) -> None:
    with pytest.raises(BadInput):
        unmarshal(signature, bytes(64))


def test_signatures_that_others_choose_are_not_kept_forever() -> None:
    for kinds in product("ybnqiuxtdhsg", repeat=3):
        empty: list[Any] = ["" if kind in "sg" else 0 for kind in kinds]
        sent = SimpleNamespace(signature=f"({''.join(kinds)})", value=empty)
        sent.type = SignatureTree(sent.signature).types[0]
        (read,) = unmarshal("v", body_of("v", [sent]), keep_variants=True)
        assert read.value == empty
    gc.collect()
    for kind in (SignatureType, signatures.SignatureType):
        structs = [one for one in gc.get_objects() if isinstance(one, kind) and one.token == "("]
        assert len(structs) <= reader.READERS_KEPT + signatures.SIGNATURES_KEPT
