"""A bus monitor of its own thread: it stamps what the bus delivers, and reads it later."""

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from koi_agent.bus.address import socket_addresses
from koi_agent.bus.messages import Header, Message, MessageType, decode, encode, extent, marshal

BUS: Final = "org.freedesktop.DBus"
MONITORING: Final = "org.freedesktop.DBus.Monitoring"
RECEIVED: Final = 1 << 18
"""Bytes that one read takes at most."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """A signal, and when the monitor received it by ``time.perf_counter``."""

    at: float
    path: str
    member: str
    body: list[Any]


class BusMonitor:
    """A monitor of the signals of a bus, used as a context manager."""

    def __init__(self, address: str, rules: Sequence[str] = ("type='signal'",)) -> None:
        self._path = socket_addresses(address)[0].path
        self._rules = rules
        self._received: list[tuple[float, bytes]] = []

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self._path)
        uid = str(os.geteuid()).encode().hex()
        self._socket.sendall(f"\0AUTH EXTERNAL {uid}\r\n".encode())
        while not self._socket.recv(4096).endswith(b"\r\n"):
            pass
        hello = Header(kind=MessageType.CALL, serial=1, path="/org/freedesktop/DBus")
        hello.interface, hello.member, hello.destination = BUS, "Hello", BUS
        become = Header(kind=MessageType.CALL, serial=2, path="/org/freedesktop/DBus")
        become.interface, become.member, become.destination = MONITORING, "BecomeMonitor", BUS
        become.signature = "asu"
        calls = encode(hello) + encode(become, marshal("asu", (list(self._rules), 0)))
        self._socket.sendall(b"BEGIN\r\n" + calls)
        time.sleep(0.1)  # the monitor has no reply to wait for that its rules allow
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while received := self._socket.recv(RECEIVED):
            self._received.append((time.perf_counter(), received))

    def signals(self) -> Iterator[Stamped]:
        """Yield the signals so far; one is stamped when its last byte came."""
        data, at = bytearray(), 0
        for moment, received in list(self._received):
            data += received
            while len(data) - at >= 16 and (end := extent(data, at)[2]) <= len(data):
                header = decode(data, at)
                body = bytes(data[extent(data, at)[1] : end])
                if header.kind == MessageType.SIGNAL:
                    values = Message(header, body, data[at]).values()
                    yield Stamped(moment, header.path, header.member, values)
                at = end
