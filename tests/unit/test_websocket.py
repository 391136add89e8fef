"""Frames of a WebSocket server, whatever pieces they arrive in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.json_stream import StreamError
from koi_agent.core.websocket import MessageReader, accepted, upgrade_request, upgrade_status
from tests.runtimes.fake_incus import frame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PROOF = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # both are the example of RFC 6455, section 1.3
TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9


def head(*fields: str, status: str = "101 Switching Protocols") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode()


def test_a_handshake_is_that_of_the_rfc() -> None:
    assert f"Sec-WebSocket-Key: {KEY}\r\n" in upgrade_request("/x", "engine", KEY).decode()
    assert accepted(KEY) == PROOF
    assert upgrade_status(head("upgrade: WebSocket", f"Sec-WebSocket-Accept: {PROOF}"), KEY) == 101
    assert upgrade_status(head(status="403 Forbidden"), KEY) == 403


@pytest.mark.parametrize(
    "answer",
    [
        head("Upgrade: websocket", "Sec-WebSocket-Accept: other"),
        head(f"Sec-WebSocket-Accept: {PROOF}"),
        b"SSH-2.0\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_a_websocket_is_an_error(answer: bytes) -> None:
    with pytest.raises(StreamError):
        upgrade_status(answer, KEY)


@given(
    st.lists(st.binary(max_size=70_000).filter(lambda message: len(message) != 126), max_size=5),
    st.integers(1, 50_000),
)
def test_messages_arrive_in_any_pieces(messages: list[bytes], size: int) -> None:
    data = b"".join(frame(TEXT, one) + frame(PING, b"p") for one in messages)
    reader = MessageReader(70_000)
    found = [
        message
        for start in range(0, len(data), size)
        for message in reader.feed(data[start : start + size])
    ]
    assert found == messages
    assert len(reader.take_replies()) == len(messages) * (2 + 4 + 1)
    assert not reader.is_closed


@given(st.integers(1, 30))
def test_a_message_that_is_too_long_is_an_empty_one(size: int) -> None:
    first = frame(TEXT, b"x" * 8, first=0) + frame(0, b"y" * 8, first=0) + frame(0, b"z" * 200)
    data = first + frame(BINARY, b"a" * 11) + frame(TEXT, b"ok")
    reader = MessageReader(10)
    found = [
        message
        for start in range(0, len(data), size)
        for message in reader.feed(data[start : start + size])
    ]
    assert found == [b"", b"", b"ok"]


def test_a_close_is_answered_and_ends_the_stream() -> None:
    reader = MessageReader(10)
    assert reader.feed(frame(TEXT, b"a") + frame(CLOSE, b"\x03\xe8bye") + b"rest") == [b"a"]
    assert reader.is_closed
    reply = reader.take_replies()
    mask, masked = reply[2:6], reply[6:]
    assert reply[:2] == b"\x88\x82"
    assert bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked)) == b"\x03\xe8"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xc1\x00", id="reserved bit"),
        pytest.param(b"\x81\x81abcdx", id="masked"),
        pytest.param(b"\x80\x00", id="continuation of nothing"),
        pytest.param(b"\x01\x00\x81\x00", id="text within a message"),
        pytest.param(b"\x09\x00", id="ping in parts"),
        pytest.param(b"\x89\x7e\x00\xff", id="long ping"),
        pytest.param(b"\x83\x00", id="unknown opcode"),
        pytest.param(b"\x8b\x00", id="unknown control opcode"),
    ],
)
def test_a_frame_that_no_server_sends_is_an_error(data: bytes) -> None:
    with pytest.raises(StreamError):
        MessageReader(100).feed(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_an_error(data: bytes) -> None:
    reader = MessageReader(100)
    try:
        messages = reader.feed(data)
    except StreamError:
        return
    assert all(len(message) <= 100 for message in messages)
