"""Ports for tests that must know a port before they listen."""

import random
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST: Final = 10_000


def free_port() -> int:
    """Return a port that no address of this host uses, at random.

    It is below those that the kernel gives to clients, so that no client gets it meanwhile.
    """
    below = int(EPHEMERAL.read_text().split()[0])
    while True:
        port = random.randrange(LOWEST, below)
        with (
            suppress(OSError),
            socket.create_server(("0.0.0.0", port)),
            socket.create_server(("::", port), family=socket.AF_INET6),
        ):
            return port
