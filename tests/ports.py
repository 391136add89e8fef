"""Ports for tests that must know a port before they listen."""

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST: Final = 10_000
MOST_PROCESSES: Final = 16
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PROCESS: Final = _WORKER + 4 * (os.getppid() % 4)
"""A number of this process among those that run tests. It may be the same in another checkout."""

_given: set[int] = set()


def free_port() -> int:
    """Return a port that no address of this host uses, at random.

    It is below those that the kernel gives to clients, so that no client gets it meanwhile. No
    other test gets it: two Caddys can listen on one port, and only one of them is reached.
    """
    below = int(EPHEMERAL.read_text().split()[0])
    while True:
        number = secrets.randbelow((below - LOWEST) // MOST_PROCESSES)
        port = LOWEST + number * MOST_PROCESSES + PROCESS % MOST_PROCESSES
        with (
            suppress(OSError),
            socket.create_server(("0.0.0.0", port)),
            socket.create_server(("::", port), family=socket.AF_INET6),
        ):
            if port not in _given:
                _given.add(port)
                return port
