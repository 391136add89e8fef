"""The API of an Incus or LXD server: the requests that the backend sends."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from koi_agent.backends.http_engine.client import EngineClient, RequestRefused
from koi_agent.backends.http_engine.json_fields import JSONObject, get_object, get_str
from koi_agent.backends.http_engine.socket_errors import UnixSocket
from koi_agent.backends.http_engine.streams import LineStream, MessageStream
from koi_agent.backends.incus.forwards import Forwards, ForwardsBuilder
from koi_agent.backends.incus.kinds import INCUS, LXD, Kind
from koi_agent.backends.incus.tunables import Tunables
from koi_agent.core.errors import BackendLost
from koi_agent.core.frozen import frozen
from koi_agent.core.text import printable
from koi_agent.host.engines import is_gate
from koi_agent.host.incus import (
    BALANCERS,
    EVENTS,
    FORWARDS,
    LIST,
    NETWORKS,
    instance_path,
    is_network_name,
    is_project_name,
    network_path,
)

log = logging.getLogger(__name__)

MAX_NETWORKS: Final = 256
"""Maximum number of networks whose forwards are read."""
_OVN: Final = "ovn"
_NOT_FOUND: Final = 404


@frozen(kw_only=True)
class Server:
    """The server that answers on a socket; ``member`` is its name in a cluster, or ""."""

    kind: Kind
    version: str
    member: str


@asynccontextmanager
async def connected(socket: UnixSocket, tunables: Tunables) -> AsyncIterator["IncusAPI"]:
    """Connect to the server on a socket, and yield its API; raise ``BackendLost``."""
    async with EngineClient(socket, tunables.requests) as client:
        environment = get_object(
            _object(socket, await client.get_json("1.0"), "1.0"), "environment"
        )
        is_member = environment.get("server_clustered") is True
        server = Server(
            kind=LXD if get_str(environment, "server") == LXD.name else INCUS,
            version=printable(get_str(environment, "server_version"), 100),
            member=get_str(environment, "server_name") if is_member else "",
        )
        yield IncusAPI(client, server)


class IncusAPI:
    """The requests to one server."""

    def __init__(self, client: EngineClient, server: Server) -> None:
        self.server = server
        self._client = client

    @property
    def socket(self) -> str:
        """Return the path of the server's socket."""
        return self._client.socket.path

    def list_instances(self) -> AsyncGenerator[list[object], None]:
        """Yield all instances with their state, a few at a time; raise ``BackendLost``.

        With the snapshots, such a list may be longer than what is held.
        """
        return self._client.get_array(LIST.lstrip("/"), member="metadata")

    async def instance(self, project: str, name: str) -> object | None:
        """Return an instance with its state, or None if it is gone; raise ``BackendLost``."""
        path = instance_path(project, name).lstrip("/")
        try:
            return _object(self._client.socket, await self._client.get_json(path), path)
        except RequestRefused as refused:
            if refused.status == _NOT_FOUND:
                return None
            raise

    async def forwards(self) -> Forwards:
        """Return the forwards and load balancers of all networks; raise ``BackendLost``.

        Some servers and some kinds of networks have none. All others are still returned.
        """
        builder = ForwardsBuilder()
        for project, name, is_ovn in await self._networks():
            for record in await self._records(network_path(project, name, FORWARDS)):
                builder.add_forward(record)
            for record in (
                await self._records(network_path(project, name, BALANCERS)) if is_ovn else ()
            ):
                builder.add_load_balancer(record)
        return builder.built()

    async def _networks(self) -> list[tuple[str, str, bool]]:
        """Return the managed networks: project, name, and True for one of OVN."""
        found = []
        for record in await self._records(NETWORKS):
            project, name = get_str(record, "project") or "default", get_str(record, "name")
            is_usable = is_network_name(name) and is_project_name(project)
            if record.get("managed") is True and is_usable:
                found.append((project, name, get_str(record, "type") == _OVN))
        return found[:MAX_NETWORKS]

    async def _records(self, path: str) -> Sequence[JSONObject]:
        """Return the objects of a list, none if the server refuses the request."""
        try:
            body = await self._client.get_json(path.lstrip("/"))
        except RequestRefused as refused:
            log.debug("%s", refused)
            return ()
        found = _list(self._client.socket, body, path)
        return [one for one in found if isinstance(one, dict)]

    async def open_events(self) -> LineStream | MessageStream:
        """Return the event stream once it has begun; raise ``BackendLost``."""
        path = EVENTS.lstrip("/")
        if is_gate(self.socket):  # it sends lines
            return await self._client.open_lines(path)
        return await self._client.open_messages(path)


def _object(socket: UnixSocket, body: object, path: str) -> JSONObject:
    """Return the object in a response; raise ``BackendLost`` if it has none."""
    found = body.get("metadata") if isinstance(body, dict) else None
    if not isinstance(found, dict):
        raise BackendLost(f"{socket}: GET /{path}: no JSON object in the response")
    return found


def _list(socket: UnixSocket, body: object, path: str) -> Sequence[object]:
    """Return the list in a response; raise ``BackendLost`` if it has none."""
    found = body.get("metadata") if isinstance(body, dict) else None
    if not isinstance(found, list):
        raise BackendLost(f"{socket}: GET {path}: no list in the response")
    return found
