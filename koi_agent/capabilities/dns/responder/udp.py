"""Answers requests over UDP, from the address to which each was sent."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from koi_agent.capabilities.dns.responder.access import RateLimit
from koi_agent.capabilities.dns.responder.answers import Answers
from koi_agent.host.sockets import IP_PKTINFO

log = logging.getLogger(__name__)

AT_ONCE: Final = 32
"""Requests that are answered before other work of the agent continues."""
_LONGEST: Final = 4096
"""Maximum size of a request in bytes: requests are short."""
_ANCILLARY: Final = socket.CMSG_SPACE(64)
_INFO: Final = {(socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)}
"""Level and type of IP_PKTINFO and IPV6_PKTINFO: the address to which a request was sent."""


class Datagrams:
    """The sockets for UDP; ``limit`` bounds the answers to clients on the network."""

    def __init__(self, answers: Answers, limit: RateLimit) -> None:
        self._answers = answers
        self._limit = limit

    @contextmanager
    def serving(self, listening: socket.socket) -> Iterator[None]:
        """Answer the requests on a socket until the context is left."""
        loop = asyncio.get_running_loop()
        loop.add_reader(listening, self._on_readable, listening)
        try:
            yield
        finally:
            loop.remove_reader(listening)

    def _on_readable(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                wire, ancillary, _, client = listening.recvmsg(_LONGEST, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error of an earlier response
                log.debug("DNS over UDP: %s", error)
                return
            if response := self._response(wire, client[0]):
                _send(listening, response, ancillary, client)

    def _response(self, wire: bytes, client: str) -> bytes | None:
        query = self._answers.over_udp(wire)
        if query is None:
            return None
        if not self._limit.admits(client):
            # An empty response is as long as the request. It makes a legitimate client use TCP.
            return None if isinstance(query, bytes) else query.truncated()
        return query if isinstance(query, bytes) else self._answers.to_query(query)


def _send(listening: socket.socket, response: bytes, ancillary: Any, client: Any) -> None:
    """Send a response; a full buffer or an unreachable client costs this response."""
    info = [
        (level, kind, _without_interface(level, data))
        for level, kind, data in ancillary
        if (level, kind) in _INFO
    ]
    try:
        listening.sendmsg([response], info, 0, client)
    except OSError as error:
        log.debug("DNS over UDP: no response to %s: %s", client[0], error)


def _without_interface(level: int, data: bytes) -> bytes:
    """Return the ancillary data without the interface for IPv4: the kernel routes the response."""
    return bytes(4) + data[4:] if level == socket.IPPROTO_IP else data
