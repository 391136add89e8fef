"""SASL EXTERNAL over a pair of sockets: the test plays the bus."""

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from koi_agent.bus import authentication, sasl
from koi_agent.bus.errors import BusLost

GUID = "0123456789abcdef0123456789abcdef"
PATIENCE = 20.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        theirs.settimeout(0)
        yield ours, theirs


async def test_own_uid_is_sent_and_the_answer_accepted(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.send(f"OK {GUID}\r\n".encode())
    await sasl.authenticate(ours)
    uid = str(os.geteuid()).encode().hex()
    assert theirs.recv(1000) == f"\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n".encode()


async def test_answer_may_come_in_pieces(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    async with asyncio.TaskGroup() as group, asyncio.timeout(PATIENCE):
        asked = group.create_task(sasl.authenticate(ours, GUID))
        for piece in (b"OK ", GUID.upper().encode(), b"\r", b"\n"):
            await asyncio.sleep(0)
            assert not asked.done()
            theirs.send(piece)
    assert theirs.recv(1000).endswith(b"BEGIN\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"REJECTED DBUS_COOKIE_SHA1 ANONYMOUS\r\n", "REJECTED DBUS_COOKIE_SHA1"),
        (b"REJECTED\r\n", "REJECTED"),
        (b'ERROR "not now"\r\n', "not now"),
        (b"DATA 00\r\n", "DATA"),
        (b"AGREE_UNIX_FD\r\n", "AGREE_UNIX_FD"),
        (b"\r\n", "refused"),
        (b"OK\r\n", "no valid GUID"),
        (b"OK 0123\r\n", "no valid GUID"),
        (f"OK {GUID}\r\nl\1\0\1".encode(), "4 bytes too early"),
        (f"OK {'f' * 32}\r\n".encode(), "its address says"),
        (b"\xff\xfe\x1b[31m\r\n", r"xff"),
        (b"OK " + b"0" * (authentication.LINE_LIMIT + 8192), "a line of more than"),
    ],
)
async def test_other_answers_are_errors(
    pair: tuple[socket.socket, socket.socket], answer: bytes, reason: str
) -> None:
    ours, theirs = pair
    theirs.send(answer)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BusLost, match=reason):
            await sasl.authenticate(ours, GUID)
    assert b"BEGIN" not in theirs.recv(1000)


@pytest.mark.parametrize("answer", [b"", b"OK 0123"])
async def test_closed_connection_is_an_error(
    pair: tuple[socket.socket, socket.socket], answer: bytes
) -> None:
    ours, theirs = pair
    theirs.send(answer)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(BusLost, match="closed the connection during authentication"):
        await sasl.authenticate(ours)
