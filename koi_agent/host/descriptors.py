"""Descriptors that systemd passes to a service and keeps for it while no process has them.

``sockets`` and ``notify`` need libraries for this and can't store descriptors. This module is for a
process that must start fast, so it uses only the standard library.
"""

import os
import socket
import struct
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Final

FIRST: Final = 3
"""The first descriptor (sd_listen_fds(3))."""
MOST: Final = 4096


def received(environment: MutableMapping[str, str]) -> Sequence[tuple[str, int]]:
    """Return names and numbers of the descriptors from systemd, and remove the variables."""
    pid, count, names, _ = (
        environment.pop(f"LISTEN_{variable}", "")
        for variable in ("PID", "FDS", "FDNAMES", "PIDFDID")
    )
    if pid != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return ()
    numbers = range(FIRST, FIRST + min(int(count), MOST))
    split = names.split(":")
    found = [(split[at] if at < len(split) else "", number) for at, number in enumerate(numbers)]
    for number in numbers:
        os.set_inheritable(number, False)  # noqa: FBT003 - positional only
    return found


class Manager:
    """The service manager (sd_notify(3)). No method raises or blocks; without one, none acts."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Read NOTIFY_SOCKET, and remove it from the environment."""
        address = environment.pop("NOTIFY_SOCKET", "")
        self._peer = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._pending: dict[str, str] = {}

    @property
    def is_behind(self) -> bool:
        """True if variables wait for a manager that does not read: call ``flush`` later."""
        return bool(self._pending)

    def send(self, variables: Mapping[str, str]) -> None:
        """Send variables; those that can't be sent are kept, each with its last value."""
        self._pending |= variables
        self.flush()

    def flush(self) -> None:
        """Send what is kept."""
        if self._pending and self._sent(self._pending, ()):
            self._pending = {}

    def store(self, name: str, *descriptors: int) -> bool:
        """Store descriptors in the manager, all or none; return False if it does not read.

        Each is kept until the peer of the socket closes it.
        """
        return self._sent({"FDSTORE": "1", "FDNAME": name}, descriptors)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _sent(self, variables: Mapping[str, str], descriptors: Sequence[int]) -> bool:
        if not self._peer:
            return True
        text = "".join(_lines(variables)).encode()
        rights = (
            socket.SOL_SOCKET,
            socket.SCM_RIGHTS,
            struct.pack(f"{len(descriptors)}i", *descriptors),
        )
        try:
            self._socket.sendmsg([text], [rights] if descriptors else [], 0, self._peer)
        except OSError:
            return False
        return True


def _lines(variables: Mapping[str, str]) -> Iterator[str]:
    for name, value in variables.items():
        yield f"{name}={value.replace(chr(10), ' ')}\n"
