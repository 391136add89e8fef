"""The listening sockets of another network namespace, from ``/proc/PID/net`` (proc(5)).

Any user may read it, unless ``/proc`` hides the process (ProtectProc=, hidepid=).
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

from koi_agent.core.instance import Protocol
from koi_agent.host.sock_diag import Listener

_MOST: Final = 4 * 1024 * 1024
"""Maximum number of bytes that are read of a file: a machine may have very many connections."""
_FILES: Final = (
    ("tcp", Protocol.TCP, "0A"),
    ("tcp6", Protocol.TCP, "0A"),
    ("udp", Protocol.UDP, "07"),
    ("udp6", Protocol.UDP, "07"),
)
"""Files, and the state of their sockets that listen: TCP_LISTEN, or TCP_CLOSE without a peer."""
_NO_PEER: Final = ":0000"


def listeners_of(pid: int, processes: Path = Path("/proc")) -> tuple[Listener, ...]:
    """Return the listeners in the network namespace of a process, none if they are hidden.

    This blocks for as long as the kernel takes to list all sockets. Sockets that are bound to a
    loopback address are left out.
    """
    folder = processes / f"{pid}/net"
    return tuple(
        sorted(
            {
                listener
                for name, protocol, state in _FILES
                for listener in _of_file(folder / name, protocol, state)
            }
        )
    )


def _of_file(path: Path, protocol: Protocol, state: str) -> Iterator[Listener]:
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST).decode("ascii", "replace").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) > 3 and words[3] == state and words[2].endswith(_NO_PEER):
            try:
                yield from _listener(words[1], protocol)
            except (ValueError, struct.error):
                continue  # cut off, or from a kernel with another format


def _listener(local: str, protocol: Protocol) -> Iterator[Listener]:
    """Yield the listener at an address such as ``0100007F:1F90``, unless it is a loopback one."""
    text, _, port = local.partition(":")
    words = struct.unpack(f">{len(text) // 8}I", bytes.fromhex(text))
    data = struct.pack(f"={len(words)}I", *words)
    address = ip_address(data)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if not (mapped or address).is_loopback:
        yield Listener(port=int(port, 16), protocol=protocol, address=str(mapped or address))
