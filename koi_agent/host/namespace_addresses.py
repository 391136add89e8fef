"""The addresses in another network namespace, from ``/proc/PID/net`` (proc(5)).

Any user may read it, unless ``/proc`` hides the process (ProtectProc=, hidepid=). The
systemd-machined of a user may not enter the namespace of a machine (setns(2)).
"""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MOST: Final = 4 * 1024 * 1024
"""Bytes of one file that are read: a machine may have very many routes."""
_LOCAL: Final = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL$", re.MULTILINE)
"""An address in the tree of routes (fib_trie), which has the routes to the machine itself, too."""
_IPV6: Final = re.compile(r"^([0-9a-f]{32}) ", re.MULTILINE)
"""The first word of a line of if_inet6."""

Row = tuple[int, bytes]
"""A family with the bytes of an address."""


def addresses_of(pid: int, processes: Path = Path("/proc")) -> list[Row] | None:
    """Return all addresses in the network namespace of a process, None if they are hidden.

    Those of the loopback interface are among them. A kernel without IPv6 has none of that family.
    """
    folder = processes / f"{pid}/net"
    try:
        routes = _text(folder / "fib_trie")
    except OSError:
        return None
    try:
        inet6 = _text(folder / "if_inet6")
    except OSError:
        inet6 = ""
    return [*_ipv4(routes), *_ipv6(inet6)]


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST).decode("ascii", "replace")


def _ipv4(routes: str) -> Iterator[Row]:
    for text in sorted(set(_LOCAL.findall(routes))):
        try:
            yield int(socket.AF_INET), socket.inet_pton(socket.AF_INET, text)
        except OSError:
            continue  # of a kernel with another format


def _ipv6(lines: str) -> Iterator[Row]:
    for digits in _IPV6.findall(lines):
        yield int(socket.AF_INET6), bytes.fromhex(digits)
