"""Connecting to a bus with asyncio: a unix socket, and SASL EXTERNAL over it."""

import asyncio
import socket
from contextlib import ExitStack

from koi_agent.bus import authentication
from koi_agent.bus.address import socket_addresses
from koi_agent.bus.errors import BusLost


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
    await loop.sock_sendall(sock, authentication.request())
    received = b""
    while (found := authentication.line_of(received)) is None:
        more = await loop.sock_recv(sock, 4096)
        if not more:
            raise BusLost(authentication.CLOSED)
        received += more
    answer, rest = found
    if rest:
        raise BusLost(f"authentication: the bus sent {len(rest)} bytes too early")
    authentication.check(answer, guid)
    await loop.sock_sendall(sock, authentication.BEGIN)
