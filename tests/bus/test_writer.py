"""The queue of outgoing messages, over a real pair of sockets."""

import asyncio
import socket
from collections.abc import Iterator

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


async def test_corked_messages_are_sent_by_uncork_in_one_piece(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    made = writer(pair[0])
    made.cork()
    for frame in (b"a", b"b", b"c"):
        made.write(frame)
    await asyncio.sleep(0)
    with pytest.raises(BlockingIOError):
        pair[1].recv(9)
    made.uncork()
    assert pair[1].recv(9) == b"abc"


async def test_messages_before_and_after_a_cork_keep_their_order(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    made = writer(pair[0])
    made.write(b"a")
    made.cork()
    made.write(b"b")
    made.uncork()
    made.write(b"c")
    for _ in range(3):
        await asyncio.sleep(0)
    assert pair[1].recv(9) == b"abc"


async def test_full_socket_is_waited_for_after_uncork(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    made = writer(pair[0])
    data = bytes(1_000_000)
    made.cork()
    made.write(data)
    made.uncork()
    assert not made.writable
    received = 0
    async with asyncio.timeout(60):
        while received < len(data):
            received += len(await asyncio.get_running_loop().sock_recv(pair[1], 65536))
        await made.drain()
    assert made.size == 0
