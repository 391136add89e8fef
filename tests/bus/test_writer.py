"""The queue of outgoing messages, over a real pair of sockets."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from koi_agent.bus.writer import Writer


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        theirs.settimeout(0)
        yield ours, theirs


def writer(ours: socket.socket) -> Writer:
    def fail(error: BaseException) -> None:
        raise error

    return Writer(asyncio.get_running_loop(), ours, fail)


async def test_messages_of_a_block_are_sent_at_its_end_in_one_piece(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    made = writer(pair[0])
    with made.together():
        made.write(b"a")
        with made.together():
            made.write(b"b")
        made.write(b"c")
        await asyncio.sleep(0)
        with pytest.raises(BlockingIOError):
            pair[1].recv(9)
    assert pair[1].recv(9) == b"abc"


async def test_blocks_one_after_the_other_are_sent_in_one_piece(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1000.0)
    made = writer(pair[0])
    for frame in (b"a", b"b", b"c"):
        with made.together():
            made.write(frame)
    assert pair[1].recv(9) == b"a"
    await asyncio.sleep(0)
    assert pair[1].recv(9) == b"bc"


async def test_messages_before_and_after_a_block_keep_their_order(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    made = writer(pair[0])
    made.write(b"a")
    with made.together():
        made.write(b"b")
    made.write(b"c")
    for _ in range(3):
        await asyncio.sleep(0)
    assert pair[1].recv(9) == b"abc"


async def test_a_block_in_which_the_writer_is_closed_sends_nothing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    made = writer(pair[0])
    with made.together():
        made.write(b"a")
        made.close()
    await asyncio.sleep(0)
    with pytest.raises(BlockingIOError):
        pair[1].recv(9)


async def test_messages_of_a_block_that_fails_are_sent(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    made = writer(pair[0])
    with suppress(ValueError), made.together():
        made.write(b"a")
        raise ValueError
    assert pair[1].recv(9) == b"a"
    made.write(b"b")
    await asyncio.sleep(0)
    assert pair[1].recv(9) == b"b"


async def test_full_socket_is_waited_for_after_a_block(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    made = writer(pair[0])
    data = bytes(1_000_000)
    with made.together():
        made.write(data)
    assert not made.writable
    received = 0
    async with asyncio.timeout(60):
        while received < len(data):
            received += len(await asyncio.get_running_loop().sock_recv(pair[1], 65536))
        await made.drain()
    assert made.size == 0
