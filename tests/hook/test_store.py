"""The queue in which connections outlive the process."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from koi_agent.host.descriptors import Manager
from koi_agent.services.hook.store import QUEUE, SLACK, Store


class Keeper:
    """A service manager that has stored what it got."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.socket = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.socket.settimeout(0)
        self.socket.bind(str(folder / "notify"))
        self.manager = Manager({"NOTIFY_SOCKET": str(folder / "notify")})
        stack.callback(self.manager.close)
        self.kept: list[int] = []
        self._stack = stack

    def store(self) -> Store:
        """Return the store of the next process, which gets what is kept."""
        ends = [socket.socket(fileno=os.dup(one)) for one in self.kept]
        made = Store(self.manager, ends)
        self._stack.callback(made.close)
        if not ends:
            self.receive()
        return made

    def receive(self) -> None:
        """Keep both ends of a queue."""
        text, self.kept, _, _ = socket.recv_fds(self.socket, 4096, 4)
        assert f"FDNAME={QUEUE}" in text.decode().splitlines()
        assert len(self.kept) == 2
        for one in self.kept:
            self._stack.callback(os.close, one)

    def length(self) -> int:
        """Return how many connections are in the queue, and empty it."""
        count = 0
        for one in self.kept:
            end = self._stack.enter_context(socket.socket(fileno=os.dup(one)))
            try:
                while end.recv(16):
                    count += 1
            except BlockingIOError:
                continue
        return count


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    with ExitStack() as stack:
        yield Keeper(tmp_path, stack)


def opened(number: int) -> tuple[list[socket.socket], list[socket.socket]]:
    pairs = [socket.socketpair() for _ in range(number)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def closed(connections: list[socket.socket]) -> None:
    for one in connections:
        one.close()


def test_connections_outlive_processes_in_their_order(keeper: Keeper) -> None:
    peers, ours = opened(200)
    first = keeper.store()
    for one in ours:
        first.add(one.fileno())
    closed(ours)
    for _ in range(3):  # each process leaves what it found
        store = keeper.store()
        found = [*store.left()]
        for number, (peer, one) in enumerate(zip(peers, found, strict=True)):
            peer.send(b"%d" % number)
            assert one.recv(16) == b"%d" % number
        closed(found)
    closed(peers)


def test_connections_that_are_over_do_not_stay(keeper: Keeper) -> None:
    store = keeper.store()
    peers, ours = opened(3)
    for one in ours:
        store.add(one.fileno())
    for _ in range(2000):
        other, one = socket.socketpair()
        store.add(one.fileno())
        store.forget(one.fileno())
        closed([other, one])
    assert keeper.length() <= 2 * len(ours) + SLACK
    closed(peers + ours)


def test_a_connection_that_was_left_twice_is_found_once(keeper: Keeper) -> None:
    peers, ours = opened(2)
    store = keeper.store()
    for one in (*ours, *ours):
        store.add(one.fileno())
    inodes = [os.fstat(one.fileno()).st_ino for one in ours]
    found = [*keeper.store().left()]
    assert [os.fstat(one.fileno()).st_ino for one in found] == inodes
    closed(peers + ours + found)


def test_a_full_queue_costs_only_what_comes_then(
    keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    store = keeper.store()
    peer, one = socket.socketpair()
    descriptors = [os.dup(one.fileno()) for _ in range(700)]
    for descriptor in descriptors:
        store.add(descriptor)
    assert "would end with this process" in caplog.text
    for descriptor in descriptors:
        store.forget(descriptor)
        os.close(descriptor)
    store.add(one.fileno())
    (found,) = keeper.store().left()
    closed([peer, one, found])


def test_an_end_without_the_other_is_replaced(keeper: Keeper) -> None:
    lone, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.close()
    keeper.kept.append(lone.detach())
    store = keeper.store()
    os.close(keeper.kept.pop())
    keeper.receive()
    peer, one = socket.socketpair()
    store.add(one.fileno())
    (found,) = keeper.store().left()
    closed([peer, one, found])
