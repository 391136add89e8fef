"""Runs one check: connects, and over HTTP reads the first line of the response only.

It uses a plain socket: a check costs a tenth of a millisecond. The connection is reset instead of
closed, so that thousands of checks leave no connection in TIME_WAIT.
"""

import asyncio
import os
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import Final

from koi_agent import __version__
from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.core.instance import CheckKind
from koi_agent.core.reach.local import Target
from koi_agent.timeouts import timeout

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, with a linger time of 0: close() resets the connection."""
LONGEST_LINE: Final = 512
FORWARDER_TIMEOUT: Final = 0.2
"""Seconds in which a port forwarder closes a connection to a port without a listener."""
STATUS: Final = re.compile(rb"HTTP/[0-9.]{1,4} ([1-9][0-9]{2})(?![0-9])")
SUCCESS: Final = range(200, 400)
"""HTTP status codes of a success. They include redirections, which are not followed."""


class Unhealthy(Exception):
    """A check failed. The text is published, so it contains nothing that the peer sent."""


async def probe(check: HealthCheck) -> str:
    """Run a check; return its result as text. Raises ``Unhealthy`` if all targets fail."""
    failed: Unhealthy | None = None
    for target in check.targets:
        try:
            return await _probe(check, target)
        except Unhealthy as unhealthy:
            failed = failed or unhealthy
    raise failed or Unhealthy("there is nothing to connect to")


async def _probe(check: HealthCheck, target: Target) -> str:
    try:
        async with timeout(check.timeout):
            return await _checked(check, target)
    except TimeoutError as error:
        raise Unhealthy(f"no answer within {check.timeout:g} s") from error
    except OSError as error:
        raise Unhealthy(_description(error)) from error


async def _checked(check: HealthCheck, target: Target) -> str:
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await asyncio.get_running_loop().sock_connect(connection, target)
        # On a free port the kernel may, rarely, connect the socket to itself.
        if connection.getsockname() == connection.getpeername():
            raise Unhealthy("connection refused")
        if check.kind is CheckKind.TCP:
            return await _connected(connection)
        send = _over_tls if check.scheme == "https" else _over_tcp
        line = await send(check, target, connection)
    return _result(line)


async def _connected(connection: socket.socket) -> str:
    """Check that a connection lasts: a proxy without a backend accepts it and closes it at once."""
    try:
        async with timeout(FORWARDER_TIMEOUT):
            received = await asyncio.get_running_loop().sock_recv(connection, 1)
    except TimeoutError:
        received = b"?"
    if not received:
        raise Unhealthy("the connection is closed at once")
    return "connected"


async def _over_tcp(check: HealthCheck, target: Target, connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, _request(check, target))
    return await _first_line(partial(loop.sock_recv, connection))


async def _over_tls(check: HealthCheck, target: Target, connection: socket.socket) -> bytes:
    """Send the request over TLS. The certificate is not verified: it has the public name."""
    reader, writer = await asyncio.open_connection(
        sock=connection,
        ssl=_context(),
        server_hostname=check.host or target.address,
        limit=LONGEST_LINE,
    )
    try:
        writer.write(_request(check, target))
        return await _first_line(reader.read)
    finally:
        writer.transport.abort()


async def _first_line(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    """Receive until the end of the first line, in any number of parts; return it."""
    line = b""
    while b"\n" not in line and len(line) < LONGEST_LINE:
        part = await read(LONGEST_LINE)
        if not part:
            break
        line += part
    return line


@cache
def _context() -> ssl.SSLContext:
    """Build the TLS context of all checks; it reads no certificate from disk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(check: HealthCheck, target: Target) -> bytes:
    return (
        f"GET {check.path} HTTP/1.1\r\nHost: {check.host or target.text}\r\nAccept: */*\r\n"
        f"User-Agent: koi-runtime/{__version__}\r\nConnection: close\r\n\r\n"
    ).encode()


def _result(line: bytes) -> str:
    """Return the status of a response; raise ``Unhealthy``."""
    match = STATUS.match(line)
    if not match:
        raise Unhealthy("the response is not HTTP" if line else "the connection is closed at once")
    status = int(match[1])
    if status not in SUCCESS:
        raise Unhealthy(f"HTTP {status}")
    return f"HTTP {status}"


def _description(error: OSError) -> str:
    """Describe an error without anything that the peer sent."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ssl.SSLError) or not error.errno or error.errno < 0:
        return "TLS failed"  # the number of an SSLError is OpenSSL's, not one of errno(3)
    return os.strerror(error.errno).lower()
