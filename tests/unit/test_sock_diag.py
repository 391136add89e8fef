"""The kernel's list of sockets, with real sockets on loopback."""

import asyncio
import os
import resource
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.instance import Protocol
from koi_agent.host import sock_diag
from koi_agent.host.netlink import messages
from koi_agent.host.sock_diag import Listener, listener_from

# One test binds more sockets than a dump of one control group lists.
pytestmark = pytest.mark.one_at_a_time


def listeners() -> list[Listener]:
    return asyncio.run(sock_diag.listeners())


def at(port: int) -> list[tuple[Protocol, str, bool]]:
    return sorted(
        (one.protocol, one.address, one.v6only) for one in listeners() if one.port == port
    )


def bound(family: int, kind: int, address: str, *, v6only: bool = False) -> socket.socket:
    made = socket.socket(family, kind)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    try:
        made.bind((address, 0))
    except OSError as error:
        made.close()
        pytest.skip(f"{address}: {error}")
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


@pytest.mark.usefixtures("leak_check")
@pytest.mark.parametrize(
    ("family", "address", "v6only", "shown"),
    [
        (socket.AF_INET, "127.0.0.1", False, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", False, "0.0.0.0"),
        (socket.AF_INET6, "::1", True, "::1"),
        (socket.AF_INET6, "::", False, "::"),
        (socket.AF_INET6, "::", True, "::"),
        (socket.AF_INET6, "::ffff:127.0.0.1", False, "127.0.0.1"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "protocol"), [(socket.SOCK_STREAM, Protocol.TCP), (socket.SOCK_DGRAM, Protocol.UDP)]
)
def test_listener_is_listed_while_it_exists(
    family: int, address: str, shown: str, kind: int, protocol: Protocol, *, v6only: bool
) -> None:
    with bound(family, kind, address, v6only=v6only) as made:
        port = made.getsockname()[1]
        assert at(port) == [(protocol, shown, v6only)]
    assert at(port) == []


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_connected_socket_is_not_a_listener(kind: int) -> None:
    with bound(socket.AF_INET, kind, "127.0.0.1") as server:
        port = server.getsockname()[1]
        with socket.socket(socket.AF_INET, kind) as client:
            client.connect(("127.0.0.1", port))
            assert at(client.getsockname()[1]) == []
            assert len(at(port)) == 1


def test_more_listeners_than_fit_in_one_part_are_all_listed() -> None:
    made = [bound(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1") for _ in range(700)]
    ports = {one.getsockname()[1] for one in made}
    seen = {one.port for one in listeners()}
    for one in made:
        one.close()
    assert ports <= seen


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow as many open files as the hard limit does; the soft one is often 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_many_sockets_neither_block_other_tasks_nor_hide_other_groups() -> None:
    with ExitStack() as sockets:
        for _ in range(1200):
            sockets.enter_context(bound(socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1"))
        sockets.enter_context(bound(socket.AF_INET6, socket.SOCK_DGRAM, "::1"))
        turns = 0
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(sock_diag.listeners(), name="look")
            while not looking.done():
                await asyncio.sleep(0)
                turns += 1
    seen = Counter((one.cgroup_id, one.protocol) for one in looking.result())
    assert turns > 4
    assert max(seen.values()) == 1024


def test_control_group_comes_with_a_listener() -> None:
    with bound(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1") as made:
        port = made.getsockname()[1]
        assert next(one.cgroup_id for one in listeners() if one.port == port) > 0


def test_no_privilege_is_needed() -> None:
    with bound(socket.AF_INET6, socket.SOCK_STREAM, "::") as made, nobody():
        assert len(at(made.getsockname()[1])) == 1


@contextmanager
def nobody() -> Iterator[None]:
    """Run as a user without privilege, if the test runs as root."""
    before = os.geteuid()
    os.seteuid(before or 65534)
    try:
        yield
    finally:
        os.seteuid(before)


def header(length: int, kind: int, flags: int, sequence: int) -> bytes:
    return struct.pack("=IHHII", length, kind, flags, sequence, 0)


class Kernel:
    """A fake kernel: answers each dump with the bytes of the test, over a real socket."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.door, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def close(self) -> None:
        self.door.close()
        self._far.close()

    def sendto(self, _: bytes, __: tuple[int, int]) -> None:
        self._far.send(self.answers[min(self.asked, len(self.answers) - 1)])
        self.asked += 1

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        data, _, flags, _ = self.door.recvmsg(size)
        sequence = struct.pack("=I", self.asked)
        return data[:8] + sequence + data[12:], [], flags, (0, 0)


def dumped(kernel: Kernel) -> list[Listener]:
    dump = sock_diag.dump(kernel, Protocol.TCP, socket.AF_INET)  # type: ignore[arg-type]
    return asyncio.run(dump)


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    with closing(Kernel(*request.param)) as one:
        yield one


@pytest.mark.parametrize("kernel", [[header(20, 3, 0x10, 0) + bytes(4)]], indirect=True)
def test_interrupted_dump_is_repeated_a_few_times(kernel: Kernel) -> None:
    assert dumped(kernel) == []
    assert kernel.asked == 4


@pytest.mark.parametrize(
    "kernel", [[header(20, kind, 0, 0) + struct.pack("=i", -13)] for kind in (2, 3)], indirect=True
)
def test_error_of_the_kernel_is_raised(kernel: Kernel) -> None:
    with pytest.raises(PermissionError):
        dumped(kernel)


@pytest.mark.parametrize("data", [header(15, 3, 0, 1), header(17, 3, 0, 1), bytes(16)])
def test_message_of_a_wrong_length_is_an_error(data: bytes) -> None:
    with pytest.raises(OSError, match="wrong length"):
        list(messages(data, 1))


def test_short_listener_is_an_error() -> None:
    with pytest.raises(OSError, match="wrong length"):
        listener_from(bytes(71), Protocol.TCP)


def test_listener_without_attributes_has_no_control_group() -> None:
    payload = struct.pack("=4B2s", socket.AF_INET, 10, 0, 0, b"\0\x50") + bytes(66)
    assert listener_from(payload, Protocol.TCP) == Listener(
        port=80, protocol=Protocol.TCP, address="0.0.0.0"
    )


@given(st.binary(max_size=60))
def test_no_attributes_raise(data: bytes) -> None:
    listener_from(bytes(72) + data, Protocol.UDP)
