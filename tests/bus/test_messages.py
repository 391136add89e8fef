"""Messages as bytes, compared with those of dbus-next."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from struct import error as StructError  # noqa: N812 - the standard library's spelling
from typing import Any

import pytest
from dbus_next.constants import MessageFlag
from dbus_next.constants import MessageType as StockType
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.bus import messages
from koi_agent.bus.marshalling import marshal
from koi_agent.bus.messages import Header, MessageType, decode, encode
from koi_agent.bus.reader import unmarshal
from koi_agent.bus.variants import Variant
from koi_agent.core.errors import BadInput
from tests.bus.wire import bodies, frame, paths, plain
from tests.bus.witness import Witness, witness

names = st.from_regex(r"[A-Za-z_]{1,9}(\.[A-Za-z_]{1,9}){1,3}", fullmatch=True)
ATTRIBUTES = ("path", "interface", "member", "error_name", "destination", "sender", "signature")


@st.composite
def headers(draw: st.DrawFn) -> Header:
    kind = draw(st.sampled_from(list(MessageType)))
    return Header(
        kind=kind,
        flags=draw(st.sampled_from([0, 1, 2, 4, 5])),
        serial=draw(st.integers(1, 2**32 - 1)),
        path=draw(paths()) if kind in (MessageType.CALL, MessageType.SIGNAL) else "",
        interface=draw(names) if kind == MessageType.SIGNAL else draw(st.just("") | names),
        member=draw(st.from_regex("[A-Za-z_]{1,12}", fullmatch=True)),
        error_name=draw(names) if kind == MessageType.ERROR else "",
        reply_serial=draw(st.integers(1, 2**32 - 1)) if kind in (2, 3) else 0,
        destination=draw(st.sampled_from(["", ":1.5", "a.b"])),
        sender=draw(st.sampled_from(["", ":1.77"])),
    )


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    with witness(tmp_path_factory.mktemp("witness")) as made:
        yield made


def assert_alike(message: Any, header: Header) -> None:
    assert message.message_type.value == header.kind
    assert message.flags == header.flags
    assert (message.reply_serial or 0) == header.reply_serial
    for name in ATTRIBUTES:
        assert (getattr(message, name) or "") == getattr(header, name)


@settings(deadline=None)
@given(header=headers(), body=bodies())
def test_dbus_next_reads_our_messages(
    stock: Witness, header: Header, body: tuple[str, list[Any]]
) -> None:
    header.signature = body[0]
    message = stock.read(encode(header, marshal(*body)))
    assert_alike(message, header)
    assert message.serial == header.serial
    assert message.body == body[1]


@settings(deadline=None)
@given(header=headers(), body=bodies())
def test_messages_of_dbus_next_are_read(
    stock: Witness, header: Header, body: tuple[str, list[Any]]
) -> None:
    header.signature, header.sender = body[0], ""  # a bus adds the sender
    named = {name: getattr(header, name) or None for name in ATTRIBUTES if name != "signature"}
    data = stock.write(
        message_type=StockType(header.kind),
        flags=MessageFlag(header.flags),
        reply_serial=header.reply_serial,
        serial=header.serial,
        signature=body[0],
        body=body[1],
        **named,
    )
    assert_read(data, header, body)


def assert_read(data: bytes, header: Header, body: tuple[str, list[Any]]) -> None:
    assert decode(data, 0) == header
    fields, begin, end = messages.extent(data, 0)
    assert begin - 8 < fields <= begin
    assert end == len(data)
    read = unmarshal(body[0], data[begin:], endian=data[0], keep_variants=True)
    assert read == body[1]
    assert unmarshal(body[0], data[begin:], endian=data[0]) == plain(body[1])


@settings(deadline=None)
@given(header=headers(), body=bodies(), big=st.booleans())
def test_messages_of_both_byte_orders_are_read_as_dbus_next_reads_them(
    stock: Witness, header: Header, body: tuple[str, list[Any]], *, big: bool
) -> None:
    header.signature, header.serial = body[0], 7
    values = {code: (kind.decode(), getattr(header, name)) for code, (name, kind) in FIELDS}
    fields = {code: field for code, field in values.items() if field[1] and code != 8}
    data = frame(header.kind, fields, *body, big=big, flags=header.flags)
    message = stock.read(data)
    assert_alike(message, header)
    assert message.body == body[1]
    assert_read(data, header, body)


FIELDS = tuple(messages.FIELDS.items())


@pytest.mark.parametrize("big", [False, True])
def test_unknown_header_fields_are_skipped(*, big: bool) -> None:
    fields = {
        1: ("o", "/a"),
        42: ("s", "x"),
        43: ("a{sv}", {"k": Variant("(ut)", [1, 2])}),
        44: ("t", 2**40),
        9: ("u", 3),
        3: ("s", "M"),
        45: ("v", Variant("y", 1)),
        7: ("s", ":1.2"),
    }
    header = decode(frame(1, fields, big=big), 0)
    assert (header.path, header.member, header.sender) == ("/a", "M", ":1.2")


@given(st.binary(min_size=16, max_size=80), st.integers(0, 64))
def test_unreadable_header_is_bad_input_and_nothing_else(noise: bytes, length: int) -> None:
    data = b"l\1\0\1" + noise[:8] + struct.pack("<I", length) + noise[8:]
    with suppress(BadInput):
        decode(data, 0)


@pytest.mark.parametrize(
    "data",
    [b"x\1\0\1" + bytes(12), b"l\1\0\2" + bytes(12), b"l\1\0\1" + b"\xff" * 12],
    ids=["order", "version", "length"],
)
def test_stream_that_is_not_dbus_is_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput):
        messages.extent(data, 0)


def test_characters_that_no_dbus_string_holds_are_replaced() -> None:
    assert unmarshal("as", marshal("as", [["a\0b", "\ud800"]])) == [["a\ufffdb", "?"]]


def test_value_of_the_wrong_type_raises() -> None:
    for signature, value in (("s", 7), ("u", -1), ("o", "a/b"), ("as", [None]), ("(su)", ["a"])):
        with pytest.raises((TypeError, ValueError, StructError)):
            marshal(signature, [value])
