"""dbus-next as a witness: it reads bytes of ours, and we read bytes of its.

dbus-next reads and writes only by a connection. So it runs as a process of its own, connected
to a socket where the test plays the bus.
"""

import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbus_next.message import Message

from tests.bus.wire import frame

PATIENCE = 25.0


class Witness:
    """A client of dbus-next, and the other end of its connection."""

    def __init__(self, client: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self._client = client
        self._sock = sock
        self._received = b""

    def read(self, data: bytes) -> Message:
        """Return what dbus-next reads of one message."""
        self._sock.sendall(data)
        assert self._client.stdout is not None
        return Message(**pickle.load(self._client.stdout))

    def write(self, **arguments: Any) -> bytes:
        """Return the bytes that dbus-next writes of a message with these arguments."""
        assert self._client.stdin is not None
        pickle.dump(arguments, self._client.stdin)
        self._client.stdin.flush()
        start = self._take(16)
        body, fields = (int.from_bytes(start[at : at + 4], "little") for at in (4, 12))
        return start + self._take(fields + -fields % 8 + body)

    def authenticate(self) -> None:
        """Accept the client's authentication and answer its Hello."""
        while b"\r\n" not in self._received:
            self._receive()
        self._received = b""
        self._sock.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
        while b"BEGIN\r\n" not in self._received:
            self._receive()
        self._received = self._received.partition(b"BEGIN\r\n")[2]
        start = self._take(16)
        serial, fields = (int.from_bytes(start[at : at + 4], "little") for at in (8, 12))
        self._take(fields + -fields % 8)
        self._sock.sendall(frame(2, {5: ("u", serial)}, "s", [":1.77"]))

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _receive(self) -> None:
        received = self._sock.recv(65536)
        assert received, "dbus-next closed the connection"
        self._received += received


@contextmanager
def witness(folder: Path) -> Iterator[Witness]:
    """Run dbus-next as a client of a socket in a folder."""
    path = str(folder / "witness")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        server.settimeout(PATIENCE)
        command = [sys.executable, "-m", "tests.bus.stock_client", f"unix:path={path}"]
        with (
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client,
            server.accept()[0] as sock,
        ):
            sock.settimeout(PATIENCE)
            made = Witness(client, sock)
            made.authenticate()
            yield made
