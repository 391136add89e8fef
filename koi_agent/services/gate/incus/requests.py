"""The requests that may pass the gate of Incus or LXD.

A request is never forwarded. If it is one of those below, the gate writes its own to the server. A
request that is not spelled as the agent spells it is refused: the gate has no other client.
"""

import re
from enum import Enum, auto
from typing import Final
from urllib.parse import unquote

from koi_agent.core.frozen import frozen
from koi_agent.host.incus import (
    BALANCERS,
    EVENTS,
    FORWARDS,
    LIST,
    NETWORKS,
    instance_path,
    is_instance_name,
    is_network_name,
    is_project_name,
    network_path,
)
from koi_agent.services.gate.head import Forbidden, Head

_INSTANCE: Final = re.compile(r"/1\.0/instances/([A-Za-z0-9-]{1,63})")
_NETWORK: Final = re.compile(r"/1\.0/networks/([A-Za-z0-9._-]{1,63})/([a-z-]{1,20})")
_QUERY: Final = re.compile(r"recursion=1&project=([A-Za-z0-9%._~-]{1,1000})")


class Endpoint(Enum):
    """A part of the server's API that may be read."""

    SERVER = auto()
    LIST = auto()
    INSTANCE = auto()
    NETWORKS = auto()
    FORWARDS = auto()
    BALANCERS = auto()
    EVENTS = auto()


_WHOLE: Final = {
    "/1.0": Endpoint.SERVER,
    LIST: Endpoint.LIST,
    NETWORKS: Endpoint.NETWORKS,
    EVENTS: Endpoint.EVENTS,
}
"""The requests whose paths contain no name."""
_PARTS: Final = {FORWARDS: Endpoint.FORWARDS, BALANCERS: Endpoint.BALANCERS}
"""The parts of a network that may be read."""


@frozen(kw_only=True)
class Request:
    """A request that may pass. ``target`` is built here."""

    endpoint: Endpoint
    target: str

    @property
    def head(self) -> bytes:
        """Return the request to the server: HTTP/1.0, so its response ends with the connection."""
        return f"GET {self.target} HTTP/1.0\r\nHost: gate\r\n\r\n".encode()


def parse_request(head: Head) -> Request:
    """Return the request to the server for the head of a client's; raise ``Forbidden``."""
    if head.method != "GET":
        raise Forbidden("method not allowed")
    target = f"{head.path}?{head.query}" if head.query else head.path
    for whole, endpoint in _WHOLE.items():
        if target == whole:
            return Request(endpoint=endpoint, target=whole)
    return _named(head)


def _named(head: Head) -> Request:
    """Return the request for an instance or for a part of a network; raise ``Forbidden``."""
    if found := _INSTANCE.fullmatch(head.path):
        name = found[1]
        if is_instance_name(name):
            target = instance_path(_project(head.query), name)
            return Request(endpoint=Endpoint.INSTANCE, target=target)
    elif (found := _NETWORK.fullmatch(head.path)) and found[2] in _PARTS:
        name, part = found[1], found[2]
        if is_network_name(name):
            target = network_path(_project(head.query), name, part)
            return Request(endpoint=_PARTS[part], target=target)
    raise Forbidden("path or query not allowed")


def _project(query: str) -> str:
    """Return the project in a query; raise ``Forbidden``."""
    found = _QUERY.fullmatch(query)
    project = unquote(found[1]) if found and _is_encoded(found[1]) else ""
    if not is_project_name(project):
        raise Forbidden("query not allowed")
    return project


def _is_encoded(text: str) -> bool:
    """Return True if a text is well-formed percent-encoding of UTF-8."""
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        return False
    try:
        unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    return True
