"""The listeners of another network namespace, from files of /proc and from the real kernel."""

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.machined.machines import ports_from
from koi_agent.core.instance import PortSource, Protocol
from koi_agent.host.namespace_listeners import _listener, listeners_of
from koi_agent.host.sock_diag import Listener

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
TCP = (
    "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
    "   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
    "   2: 0200000A:0051 0300000A:D431 01 00000000:00000000 00:00000000 00000000     0\n"
    "   3: 0200000A:0052 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
    "   4: nonsense\n   5: 00:1 00:0000 0A\n   6: 0200"
)
TCP6 = f"   0: {'0' * 32}:0016 {'0' * 32}:0000 0A 00000000:00000000\n"
UDP = "  10: 00000000:0035 00000000:0000 07 00000000:00000000\n"


@pytest.fixture
def processes(tmp_path: Path) -> Path:
    folder = tmp_path / "7/net"
    folder.mkdir(parents=True)
    for name, text in (("tcp", TCP), ("tcp6", TCP6), ("udp", UDP)):
        (folder / name).write_text(HEAD + text)
    return tmp_path


def test_listeners_are_parsed(processes: Path) -> None:
    found = {(one.port, one.protocol, one.address) for one in listeners_of(7, processes)}
    assert found == {
        (8080, Protocol.TCP, "0.0.0.0"),
        (82, Protocol.TCP, "10.0.0.2"),
        (22, Protocol.TCP, "::"),
        (53, Protocol.UDP, "0.0.0.0"),
    }


def test_a_hidden_process_has_none(tmp_path: Path) -> None:
    assert listeners_of(7, tmp_path) == ()


def test_the_kernel_shows_the_sockets_of_this_process() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as lo,
    ):
        found = {one.port for one in listeners_of(os.getpid())}
        assert server.getsockname()[1] in found
        assert lo.getsockname()[1] not in found


@given(st.text(alphabet="0123456789ABCDEFG:-", max_size=50))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    with suppress(ValueError, struct.error):
        assert all(isinstance(one, Listener) for one in _listener(text, Protocol.TCP))


def test_ports_of_a_machine_are_at_its_own_addresses() -> None:
    listeners = [
        Listener(port=80, protocol=Protocol.TCP, address="0.0.0.0"),
        Listener(port=80, protocol=Protocol.TCP, address="::"),
        Listener(port=45000, protocol=Protocol.UDP, address="0.0.0.0"),
    ]
    (port,) = ports_from(listeners, range(32768, 61000))
    assert (port.host_port, port.container_port, port.host_ip) == (0, 80, "")
    assert port.source is PortSource.LISTENING
