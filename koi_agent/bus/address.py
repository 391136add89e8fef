"""Addresses of buses, by the D-Bus Specification's "Server Addresses".

Only ``unix:path=`` and ``unix:abstract=`` can be connected to. The other keys of the unix
transport (``dir``, ``tmpdir``, ``runtime``) are for servers that listen.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from koi_agent.bus.errors import BusLost
from koi_agent.core.errors import BadInput, ConfigError

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
_VALUE = re.compile(r"(?:[-0-9A-Za-z_/.\\*]|%[0-9A-Fa-f]{2})*")
"""Every other byte must be escaped."""
_PLAIN = re.compile(r"[-0-9A-Za-z_/.]*")


class SocketAddress(NamedTuple):
    """A unix socket; the path of an abstract one begins with NUL.

    ``guid`` is the server's GUID in lower case, or "" if the address does not give it.
    """

    path: bytes
    guid: str = ""


def address(scope: str) -> str:
    """Return the address of the ``system`` or the ``user`` bus.

    As in sd-bus, the environment comes first and then the well-known socket. Raises
    ``ConfigError`` if the user has no bus.
    """
    if scope == "system":
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS
    if given := os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return given
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return f"unix:path={_escaped(runtime)}/bus"
    raise ConfigError(
        "no user bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"
        " (use --system for the system's)"
    )


def socket_addresses(text: str) -> list[SocketAddress]:
    """Parse the addresses of a list separated by ``;``, in order.

    Addresses that are malformed or of another transport are skipped. Raises ``BusLost`` if
    none is left.
    """
    found: list[SocketAddress] = []
    problems: list[str] = []
    for part in filter(None, text.split(";")):
        try:
            found.append(_socket_address(part))
        except BadInput as error:
            problems.append(str(error))
    if not found:
        detail = "; ".join(problems) or "it is empty"
        raise BusLost(f"bus address {text!r}: {detail}; write unix:path=/path/of/the/socket")
    return found


def _socket_address(part: str) -> SocketAddress:
    transport, colon, rest = part.partition(":")
    if not colon:
        raise BadInput(f"{part!r} names no transport")
    if transport != "unix":
        raise BadInput(f"transport {transport!r} is not supported")
    options = _options(rest)
    path, abstract = options.get("path", b""), options.get("abstract", b"")
    if bool(path) == bool(abstract):
        raise BadInput("it has neither path= nor abstract=, or both")
    guid = options.get("guid", b"").decode("ascii", "replace").lower()
    return SocketAddress(path or b"\0" + abstract, guid)


def _options(text: str) -> Mapping[str, bytes]:
    options: dict[str, bytes] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not _VALUE.fullmatch(value):
            raise BadInput(f"{pair!r} is not a key and an escaped value")
        options[key] = _unescaped(value)
        if b"\0" in options[key]:
            raise BadInput(f"{pair!r} contains a NUL byte")
    return options


def _escaped(path: str) -> str:
    if _PLAIN.fullmatch(path):
        return path
    from urllib.parse import quote  # noqa: PLC0415 - few paths need it, and the command waits

    return quote(path, safe="/").replace("~", "%7E")  # quote() keeps "~"


def _unescaped(value: str) -> bytes:
    if "%" not in value:
        return value.encode()
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415 - as above

    return unquote_to_bytes(value)
