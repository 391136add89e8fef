"""Connecting to a bus: a unix socket, and SASL EXTERNAL over it.

See "Authentication Protocol" in the D-Bus Specification. The bus takes our uid from the
kernel, so one command and one answer are enough. Passing of file descriptors is not
negotiated: nothing here uses it, and the bus then delivers no message that carries any.
"""

import asyncio
import os
import re
import socket
from contextlib import ExitStack

from koi_agent.bus.address import socket_addresses
from koi_agent.bus.writer import BusLost

LINE_LIMIT = 16 * 1024
"""Bytes that one line of the bus may have."""
_GUID = re.compile("[0-9a-f]{32}")


async def connect(address: str) -> socket.socket:
    """Return an authenticated socket of the first of the addresses that can be connected to.

    Raises ``BusLost`` or ``OSError``. The caller bounds the time.
    """
    sock, guid = await _connected(address)
    with ExitStack() as undo:
        undo.enter_context(sock)
        await authenticate(sock, guid)
        undo.pop_all()
    return sock


async def _connected(address: str) -> tuple[socket.socket, str]:
    """Return a connected socket, and the GUID that its server must have, or ""."""
    targets = socket_addresses(address)
    for target in targets:
        with ExitStack() as undo:
            sock = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.setblocking(False)  # noqa: FBT003 - the standard library's own signature
            try:
                await asyncio.get_running_loop().sock_connect(sock, target.path)
            except OSError:
                if target is targets[-1]:
                    raise
            else:
                undo.pop_all()
                return sock, target.guid
    raise BusLost(f"bus address {address!r} is empty")


async def authenticate(sock: socket.socket, guid: str = "") -> None:
    """Run the authentication as this process's user, up to and including BEGIN.

    ``guid`` is the GUID that the server must have, "" for any. Raises ``BusLost`` or
    ``OSError``.
    """
    loop = asyncio.get_running_loop()
    uid = str(os.geteuid()).encode().hex()
    await loop.sock_sendall(sock, f"\0AUTH EXTERNAL {uid}\r\n".encode())
    answer = await _read_line(sock)
    command, _, rest = answer.partition(" ")
    if command != "OK":
        raise BusLost(f"the bus refused authentication as uid {os.geteuid()}: {answer[:200]!r}")
    if not _GUID.fullmatch(rest.lower()):
        raise BusLost(f"authentication: the bus has no valid GUID: {rest[:200]!r}")
    if guid and guid != rest.lower():
        raise BusLost(f"authentication: the bus has the GUID {rest}, its address says {guid}")
    await loop.sock_sendall(sock, b"BEGIN\r\n")


async def _read_line(sock: socket.socket) -> str:
    """Read one line, which must be all that the bus sends before BEGIN."""
    line = b""
    while b"\r\n" not in line:
        if len(line) > LINE_LIMIT:
            raise BusLost(f"authentication: the bus sent a line of more than {LINE_LIMIT} bytes")
        received = await asyncio.get_running_loop().sock_recv(sock, 4096)
        if not received:
            raise BusLost("the bus closed the connection during authentication")
        line += received
    text, _, rest = line.partition(b"\r\n")
    if rest:
        raise BusLost(f"authentication: the bus sent {len(rest)} bytes too early")
    return text.decode("ascii", "backslashreplace")
