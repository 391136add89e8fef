"""Asks once: connects, and over HTTP reads the first line of the answer and no more.

By a socket and nothing on top: a check costs a tenth of a millisecond. The connection is reset
and not closed, so that thousands of checks leave no connection in TIME_WAIT behind.
"""

import asyncio
import os
import re
import socket
import struct
from functools import cache
from typing import TYPE_CHECKING, Final

from koi_agent import __version__
from koi_agent.core.checks import CheckKind, HealthCheck

if TYPE_CHECKING:
    from ssl import SSLContext

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time to linger."""
LONGEST_LINE: Final = 512
SECOND_THOUGHTS: Final = 0.2
"""Seconds in which a port that nobody stands behind is closed again by whoever forwards it."""
STATUS: Final = re.compile(rb"HTTP/[0-9.]{1,4} ([1-9][0-9]{2})(?![0-9])")
WELL: Final = range(200, 400)
"""Statuses of something that works. A redirection is an answer, and is not followed."""


class Unwell(Exception):
    """A check failed; the text is our own, for everybody to read."""


async def probe(check: HealthCheck) -> str:
    """Ask once; returns what was answered. Raises ``Unwell``."""
    try:
        async with asyncio.timeout(check.timeout):
            return await _asked(check)
    except TimeoutError as error:
        raise Unwell(f"no answer within {check.timeout:g} s") from error
    except OSError as error:
        raise Unwell(_words(error)) from error


async def _asked(check: HealthCheck) -> str:
    family = socket.AF_INET6 if ":" in check.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await asyncio.get_running_loop().sock_connect(door, (check.address, check.port))
        # A port that nobody listens on may, rarely, be given to our own end: it met itself.
        if door.getsockname() == door.getpeername():
            raise Unwell("connection refused")
        if check.kind is CheckKind.TCP:
            return await _connected(door)
        line = await (_over_tls if check.scheme == "https" else _over_tcp)(check, door)
    return _judged(line)


async def _connected(door: socket.socket) -> str:
    """See whether a connection lasts: a proxy in front of nobody accepts, and then hangs up."""
    try:
        async with asyncio.timeout(SECOND_THOUGHTS):
            said = await asyncio.get_running_loop().sock_recv(door, 1)
    except TimeoutError:
        said = b"?"
    if not said:
        raise Unwell("the connection is closed at once")
    return "connected"


async def _over_tcp(check: HealthCheck, door: socket.socket) -> bytes:
    loop, line = asyncio.get_running_loop(), b""
    await loop.sock_sendall(door, _request(check))
    while b"\n" not in line and len(line) < LONGEST_LINE:
        part = await loop.sock_recv(door, LONGEST_LINE)
        if not part:
            break
        line += part
    return line


async def _over_tls(check: HealthCheck, door: socket.socket) -> bytes:
    """Ask over TLS; the certificate is not looked at, for it names the service's public name."""
    reader, writer = await asyncio.open_connection(
        sock=door, ssl=_trusting(), server_hostname=check.address, limit=LONGEST_LINE
    )
    try:
        writer.write(_request(check))
        return await reader.read(LONGEST_LINE)
    finally:
        writer.transport.abort()


@cache
def _trusting() -> "SSLContext":
    """Make the one context of all checks; no authority is read from the disk for it."""
    import ssl  # noqa: PLC0415 - only where somebody asks for it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(check: HealthCheck) -> bytes:
    return (
        f"GET {check.path} HTTP/1.1\r\nHost: {check.place}\r\nAccept: */*\r\n"
        f"User-Agent: koi-runtime/{__version__}\r\nConnection: close\r\n\r\n"
    ).encode()


def _judged(line: bytes) -> str:
    """Tell the status of an answer; raises ``Unwell``."""
    match = STATUS.match(line)
    if not match:
        raise Unwell("the answer is no HTTP" if line else "the connection is closed at once")
    status = int(match[1])
    if status not in WELL:
        raise Unwell(f"HTTP {status}")
    return f"HTTP {status}"


def _words(error: OSError) -> str:
    """Say what went wrong without saying what the other side said."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else "TLS failed"
