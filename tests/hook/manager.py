"""A service manager and a systemd-resolved around the hook, as far as the hook sees them."""

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import dns.message

from tests.namespaces import CHECKOUT, wait_until

HOOK: Final = "io.systemd.Resolve.Hook"
# Descriptors are moved first: the number of one may be the place of another.
LAUNCH: Final = """
import fcntl, os, sys
moved = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 100) for one in sys.argv[1].split(",")]
for place, one in enumerate(moved, 3):
    os.dup2(one, place)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
PROGRAM: Final = f"""
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
from koi_agent.services.hook.__main__ import main
main()
"""
NO_BUS: Final = "unix:path=/nonexistent/bus"


class Manager:
    """The service manager: it has the listening socket, and keeps what the hook gives it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.file = folder / "hook.json"
        self.path = folder / "hook.sock"
        self.kept: list[socket.socket] = []
        self.variables: dict[str, str] = {}
        self._stack = stack
        self._folder = folder
        self._listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._listener.bind(str(self.path))
        self.path.chmod(0o666)
        self._listener.listen(512)
        self._notified = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._notified.bind(str(folder / "notify"))
        self._notified.settimeout(0)
        self._number = 0
        stack.callback(self.forget)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the hook with all that is kept, and wait until it is ready."""
        self.receive()
        self._number += 1
        given = [self._listener, *self.kept]
        numbers = [one.fileno() for one in given]
        environment = {
            "LISTEN_FDS": str(len(given)),
            "LISTEN_FDNAMES": ":".join(["hook", *["links"] * len(self.kept)]),
            "NOTIFY_SOCKET": str(self._folder / "notify"),
            "WATCHDOG_USEC": "200000",
            "DBUS_SYSTEM_BUS_ADDRESS": NO_BUS,
        }
        launch = [sys.executable, "-IS", "-c", LAUNCH, ",".join(map(str, numbers))]
        command = [sys.executable, "-IS", "-c", PROGRAM, str(self.file)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*launch, *command], pass_fds=numbers, env=environment, stderr=log
            )
        self._stack.callback(ended, process)
        self.variables.clear()
        wait_until(lambda: self.receive().get("READY"), "the hook is ready")
        return process

    def forget(self) -> None:
        """Close all that is kept."""
        for one in self.kept:
            one.close()

    def leave(self, connection: socket.socket) -> None:
        """Keep a connection as a process before has left it."""
        if not self.kept:
            self.kept += socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(self.kept[0], [b"of another process"[:16]], [connection.fileno()])

    @property
    def log(self) -> Path:
        """The file with what all processes wrote."""
        return self._folder / "log"

    def receive(self) -> Mapping[str, str]:
        """Receive notifications; return the last value of each variable so far."""
        with suppress(BlockingIOError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._notified, 4096, 4)
                self.variables |= dict(line.split("=", 1) for line in data.decode().splitlines())
                self.kept += [socket.socket(fileno=one) for one in descriptors]
        return self.variables

    def write(self, text: str) -> None:
        """Replace the file, as the agent does."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs."""
    process.kill()
    process.wait(30)


class Resolved:
    """One connection of systemd-resolved's, which is strict about what it reads."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(30)
        self.socket = sock
        self._received = b""

    def send(self, value: object, *, end: bytes = b"\0") -> None:
        self.socket.sendall(json.dumps(value).encode() + end)

    def receive(self) -> dict[str, Any]:
        """Return the next message; raise ``EOFError`` at the end of the connection."""
        while b"\0" not in self._received:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        found = json.loads(message)
        assert isinstance(found, dict)
        return found

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self.send({"method": method, "parameters": parameters})
        return self.receive()

    def follow(self) -> list[str]:
        """Request the filter, and return the first one."""
        self.send({"method": f"{HOOK}.QueryFilter", "more": True})
        return self.filter()

    def filter(self) -> list[str]:
        """Return the next filter."""
        message = self.receive()
        assert message["continues"] is True
        found = message["parameters"]["filterDomains"]
        assert all(isinstance(one, str) and one for one in found)
        return list(found)

    def put(self, name: str, *types: int) -> None:
        """Send a question."""
        keys = [{"key": {"class": 1, "type": one, "name": name}} for one in types or (1,)]
        self.send({"method": f"{HOOK}.ResolveRecord", "parameters": {"question": keys}})

    def answer(self) -> dict[str, Any]:
        message = self.receive()
        assert message.keys() == {"parameters"}
        return dict(message["parameters"])

    def ask(self, name: str, *types: int) -> dict[str, Any]:
        self.put(name, *types)
        return self.answer()

    def find(self, name: str, *types: int) -> Sequence[str]:
        """Return the records in an answer as in a zone file."""
        found = self.ask(name, *types)
        assert found.keys() == {"rcode", "answer"}
        assert found["rcode"] == 0
        return sorted(line for one in found["answer"] for line in _lines(one["raw"]))


def _lines(raw: str) -> Iterator[str]:
    """Yield a record, which must have the form of a DNS message."""
    head = bytes((0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0))
    message = dns.message.from_wire(head + base64.b64decode(raw, validate=True))
    yield from (line for rrset in message.answer for line in rrset.to_text().splitlines())


def is_root() -> bool:
    return os.geteuid() == 0
