"""The messages of SASL EXTERNAL, without the socket.

See "Authentication Protocol" in the D-Bus Specification. The bus takes our uid from the
kernel, so one command and one answer are enough. Passing of file descriptors is not
negotiated: nothing here uses it, and the bus then delivers no message that carries any.
"""

import os
import re

from koi_agent.bus.errors import BusLost

LINE_LIMIT = 16 * 1024
"""Bytes that one line of the bus may have."""
BEGIN = b"BEGIN\r\n"
CLOSED = "the bus closed the connection during authentication"
_GUID = re.compile("[0-9a-f]{32}")


def request() -> bytes:
    """Return what a client sends first: a NUL byte, and the command for this process's user."""
    uid = str(os.geteuid()).encode().hex()
    return f"\0AUTH EXTERNAL {uid}\r\n".encode()


def line_of(received: bytes) -> tuple[str, bytes] | None:
    """Return the line that the bus has sent and what follows it, ``None`` if it is not complete.

    Nothing may follow before BEGIN. Raises ``BusLost``.
    """
    text, end, rest = received.partition(b"\r\n")
    if len(text) > LINE_LIMIT:
        raise BusLost(f"authentication: the bus sent a line of more than {LINE_LIMIT} bytes")
    return (text.decode("ascii", "backslashreplace"), rest) if end else None


def check(answer: str, guid: str) -> None:
    """Raise ``BusLost`` unless the line of the bus accepts the client.

    ``guid`` is the GUID that the server must have, "" for any.
    """
    command, _, rest = answer.partition(" ")
    if command != "OK":
        raise BusLost(f"the bus refused authentication as uid {os.geteuid()}: {answer[:200]!r}")
    if not _GUID.fullmatch(rest.lower()):
        raise BusLost(f"authentication: the bus has no valid GUID: {rest[:200]!r}")
    if guid and guid != rest.lower():
        raise BusLost(f"authentication: the bus has the GUID {rest}, its address says {guid}")
