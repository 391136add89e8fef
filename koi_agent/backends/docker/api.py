"""The API of a Docker or Podman engine.

The shared client sends all requests but those about a swarm, for which aiodocker is used.
There can be thousands of inspections, and aiodocker takes most of the time of each. It
decodes a list in one piece, which would stop everything else for as long as thousands of containers
take. Its event stream has no bound on a line, loses the time of an event and can't be opened twice.
It uses the newest API version that the engine knows, not the newest that this code knows.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from koi_agent.backends.docker.kinds import DOCKER, PODMAN, Kind
from koi_agent.backends.http_engine.client import EngineClient, RequestRefused
from koi_agent.backends.http_engine.json_fields import JSONObject, get_objects, get_str
from koi_agent.backends.http_engine.limits import RequestLimits
from koi_agent.backends.http_engine.socket_errors import UnixSocket
from koi_agent.backends.http_engine.streams import LineStream
from koi_agent.core.errors import BackendLost, BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.text import printable
from koi_agent.host.engines import EVENTS

if TYPE_CHECKING:
    from koi_agent.backends.docker.swarm import Swarm

NEWEST_API: Final = (1, 51)
"""The newest API version that this code is known to read; older engines speak their own."""

_LIBPOD: Final = "v4.0.0/libpod"


class NoSuchContainer(BadInput):
    """The engine has no such container, or no longer has it."""


@frozen(kw_only=True)
class Engine:
    """The engine that answers on a socket: its kind and version, and the API version to speak."""

    kind: Kind
    version: str
    api_version: str


@asynccontextmanager
async def connected(socket: UnixSocket, limits: RequestLimits) -> AsyncIterator["DockerAPI"]:
    """Connect to the engine on a socket, and yield its API.

    Raises ``BackendLost``, or ``BackendAbsent`` where there is no socket, or a gate without an
    engine.
    """
    async with EngineClient(socket, limits) as client:
        version = await client.get_json("version")
        if not isinstance(version, dict):
            raise BackendLost(f"{socket}: GET /version: not a JSON object")
        api_version = _api_version(version)
        kind = _kind(version)
        engine = Engine(
            kind=kind,
            version=printable(get_str(version, "Version"), 100),
            api_version=api_version,
        )
        async with AsyncExitStack() as stack:
            yield DockerAPI(client, engine, stack)


class DockerAPI:
    """The requests that the backend sends to one engine; ``stack`` ends with the connection."""

    def __init__(self, client: EngineClient, engine: Engine, stack: AsyncExitStack) -> None:
        self.engine = engine
        self._client = client
        self._stack = stack
        self._opened: Swarm | None = None

    @property
    def socket(self) -> str:
        """Return the path of the engine's socket."""
        return self._client.socket.path

    async def check(self) -> None:
        """Send a request that an engine answers if it can; raise ``BackendLost`` otherwise."""
        await self._client.get_json("version")

    def list_containers(self) -> AsyncGenerator[list[object], None]:
        """Yield the containers that run, a few at a time; raise ``BackendLost``."""
        path = f"{self.engine.api_version}/containers/json"
        return self._client.get_array(path, self.engine.kind.list_query)

    async def inspect_container(self, id_: str) -> object:
        """Return an inspection; raise ``NoSuchContainer``, ``BadInput`` or ``BackendLost``."""
        api = _LIBPOD if self.engine.kind.is_libpod else self.engine.api_version
        try:
            return await self._client.get_json(f"{api}/containers/{id_}/json")
        except RequestRefused as refused:
            if refused.status == 404:
                raise NoSuchContainer(f"container {id_:.12}: no such container") from refused
            raise

    async def inspect_service(self, id_: str) -> object:
        """Return a service of the swarm; raise ``RequestRefused`` or ``BackendLost``."""
        return await self._swarm().service(id_)

    async def inspect_image(self, id_: str) -> object:
        """Return the inspection of an image by its digits; raise ``BackendLost``."""
        return await self._client.get_json(f"{self.engine.api_version}/images/{id_}/json")

    def _swarm(self) -> "Swarm":
        """Return the API of the engine's swarm."""
        if self._opened is None:
            # aiodocker and its aiohttp take 14 MB and 0.2 s: the first request loads them.
            from koi_agent.backends.docker.swarm import Swarm  # noqa: PLC0415

            self._opened = Swarm(self._client, self.engine.api_version)
            self._stack.push_async_callback(self._opened.close)
        return self._opened

    async def open_events(self, since: str) -> LineStream:
        """Return the event stream once it has begun; raise ``BackendLost``.

        ``since`` is seconds since the epoch, with a fraction: what happened since then comes first.
        """
        query = {"since": since, "filters": json.dumps(EVENTS)}
        return await self._client.open_lines(f"{self.engine.api_version}/events", query)


def _kind(version: JSONObject) -> Kind:
    """Return the kind of the engine that sent this answer to ``/version``."""
    names = {get_str(part, "Name") for part in get_objects(version, "Components")}
    return PODMAN if "Podman Engine" in names else DOCKER


def _api_version(version: JSONObject) -> str:
    """Return the API version to speak: the engine's newest, unless it is newer than ours."""
    newest = _numbers(version.get("ApiVersion"))
    oldest = _numbers(version.get("MinAPIVersion"))
    if not newest:
        raise BackendLost("GET /version: no API version in the response")
    major, minor = max(min(newest, NEWEST_API), oldest or newest)
    return f"v{major}.{minor}"


def _numbers(version: object) -> tuple[int, int] | None:
    major, dot, minor = str(version).partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal() and len(major + minor) < 8):
        return None
    return int(major), int(minor)
