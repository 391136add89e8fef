"""Containers and virtual machines of Incus or LXD, over the API that both speak.

``kinds`` holds how the two differ, ``sockets`` where they listen. A connection to their socket
starts a daemon that is stopped: ``activation`` asks the service manager first. For one connection,
``api`` sends requests, and ``session`` reads events, inspects and lists. ``events``, ``guests``,
``addresses``, ``proxies`` and ``forwards`` parse the responses; ``tracker`` applies them.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from koi_agent.backends.http_engine.socket_errors import (
    NothingBehindGate,
    UnixSocket,
    check_listening,
)
from koi_agent.backends.incus.activation import Activation
from koi_agent.backends.incus.kinds import Kind
from koi_agent.backends.incus.projects import Projects
from koi_agent.backends.incus.tunables import Tunables
from koi_agent.core.contracts import Deliver, Session
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.host.engines import is_gate
from koi_agent.host.path_watch import PathStates, path_states, wait_for_change

if TYPE_CHECKING:
    from koi_agent.backends.incus.api import IncusAPI
    from koi_agent.backends.incus.guests import Guest


class ServiceStopped(BackendAbsent):
    """A connection to the socket would start the server."""


class Incus:
    """A backend called ``name``, which follows a server of one kind on the first of ``sockets``.

    ``activation`` knows whether a connection to a usual socket would start the server.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        sockets: tuple[UnixSocket, ...],
        projects: Projects,
        activation: Activation,
        tunables: Tunables | None = None,
    ) -> None:
        self.name = name
        self._kind = kind
        self._sockets = sockets
        self._paths = [socket.path for socket in sockets]
        self._projects = projects
        self._activation = activation
        self._tunables = tunables or Tunables()
        self._guests: dict[str, Guest] = {}
        self._paths_before: PathStates = path_states(self._paths)
        self._unit = ""
        self._stopped: dict[str, str] = {}  # each socket unit's service

    @asynccontextmanager
    async def session(self, deliver: Deliver) -> AsyncIterator[Session]:
        """Connect and open the event stream; raise ``BackendLost`` or ``BackendAbsent``."""
        self._paths_before = path_states(self._paths)
        self._unit, self._stopped = "", {}
        async with AsyncExitStack() as stack:
            api = await self._connect(stack)
            yield await stack.enter_async_context(self._opened(api, deliver))

    def _opened(self, api: "IncusAPI", deliver: Deliver) -> AbstractAsyncContextManager[Session]:
        from koi_agent.backends.incus.session import Session  # noqa: PLC0415 - see ``_connected``

        return Session(
            self.name,
            api,
            self._guests,
            deliver,
            projects=self._projects,
            tunables=self._tunables,
        ).opened(self._stop)

    async def _stop(self) -> str:
        """Wait until a connection would start the server again; return its service."""
        if not self._unit:
            await asyncio.Event().wait()
        return await self._activation.stop(self._unit)

    async def arrival(self) -> None:
        """Wait until a socket appears or is replaced, or until a stopped server is started."""
        if self._stopped:
            await self._activation.start([*self._stopped])
        else:
            await wait_for_change(self._paths, self._paths_before)

    async def _connect(self, stack: AsyncExitStack) -> "IncusAPI":
        """Connect to the first socket on which a server of this kind answers."""
        failure: BackendLost | None = None
        for socket in self._sockets:
            try:
                unit = await self._started_unit(socket.path)
                await check_listening(socket)
                api = await stack.enter_async_context(self._connected(socket))
            except BackendLost as lost:
                failure = _more_specific(failure, lost, socket)
                continue
            if api.server.kind.name == self._kind.name:
                self._unit = unit
                return api
            other = api.server.kind
            failure = failure or BackendAbsent(
                f"{socket}: {other.title} answers, not {self._kind.title};"
                f" a backend of kind {other.name} can follow it"
            )
        raise failure or BackendAbsent(f"no socket to try; set Socket= of [{self._kind.title}]")

    async def _started_unit(self, path: str) -> str:
        """Return the socket unit of a path, "" without one.

        Raises ``ServiceStopped`` if a connection would start a server that was stopped.
        """
        unit = self._kind.socket_unit(path)
        # On a host without the server, the service manager is not asked.
        is_asked = unit and unit not in self._stopped and _may_exist(path)
        if is_asked and (service := await self._activation.stopped_unit(unit)):
            self._stopped[unit] = service
        if service := self._stopped.get(unit, ""):
            raise ServiceStopped(f"{service} is stopped; systemctl start {service}")
        return unit

    def _connected(self, socket: UnixSocket) -> AbstractAsyncContextManager["IncusAPI"]:
        # A host without a server does not load the modules that speak with one.
        from koi_agent.backends.incus.api import connected  # noqa: PLC0415

        return connected(socket, self._tunables)


def _may_exist(path: str) -> bool:
    """Return False if a path certainly does not exist."""
    try:
        os.lstat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _more_specific(
    failure: BackendLost | None, new: BackendLost, socket: UnixSocket
) -> BackendLost | None:
    """Return the failure that explains better why no server was found."""
    if isinstance(new, ServiceStopped) and isinstance(failure, BackendAbsent | None):
        return new  # the server is installed, and others on the list are not
    if isinstance(new, NothingBehindGate):
        return failure or new
    if isinstance(new, BackendAbsent):
        # The server may run without a gate.
        return failure if is_gate(socket.path) else failure or new
    if isinstance(failure, NothingBehindGate):
        return failure
    return new if failure is None or isinstance(failure, BackendAbsent) else failure
