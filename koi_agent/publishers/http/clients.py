"""The clients that connections belong to: a user of this host, or a network address."""

import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

Client = int | str
"""A uid, or the text of an address."""

CREDENTIALS: Final = struct.Struct("=iII")
"""The C type ucred: process, user, group."""
PREFIX: Final = 64
"""Bits of an IPv6 address that are one client: a host can have all addresses of its network."""


def privileged() -> frozenset[Client]:
    """Return the clients for which some places are kept: root and the agent's own user."""
    return frozenset({0, os.getuid()})


def client_of(accepted: socket.socket) -> Client:
    """Return the client at the other end of a socket; raise ``OSError`` if it is gone."""
    if accepted.family == socket.AF_UNIX:
        level, size = socket.SOL_SOCKET, CREDENTIALS.size
        found = CREDENTIALS.unpack(accepted.getsockopt(level, socket.SO_PEERCRED, size))
        return int(found[1])
    return of_address(ip_address(accepted.getpeername()[0].partition("%")[0]))


def of_address(address: IPv4Address | IPv6Address) -> Client:
    """Return the client that an address stands for."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(IPv6Network((address, PREFIX), strict=False))
    return str(address)
