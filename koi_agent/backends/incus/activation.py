"""Finds out whether a connection would start a server that an administrator has stopped.

A server is activated by its socket: systemd listens there while the service does not run. The
state of its units shows that, without a connection to the socket.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from koi_agent.bus.client import Connection, connected
from koi_agent.bus.errors import BusLost, CallError
from koi_agent.bus.object_paths import encode
from koi_agent.bus.signals import Changed, PropertyFilter, Signal, Subscription
from koi_agent.core.backoff import pauses
from koi_agent.timeouts import timeout

log = logging.getLogger(__name__)

_SYSTEMD: Final = "org.freedesktop.systemd1"
_PATH: Final = "/org/freedesktop/systemd1"
_MANAGER: Final = "org.freedesktop.systemd1.Manager"
_UNIT: Final = "org.freedesktop.systemd1.Unit"
_STATES: Final = PropertyFilter(_UNIT, {"ActiveState": "s", "SubState": "s"})
_PATIENCE: Final = 5.0
"""Seconds for each answer of the bus."""
_ERRORS: Final = (BusLost, CallError, OSError)  # TimeoutError is a subclass of OSError
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0
"""Seconds until a lost bus is connected again."""
_WAITING, _SERVED = "listening", "running"
"""SubState of a socket unit while its service does not run, and while it does."""
_ENDING: Final = "deactivating"
_ENDED: Final = frozenset({"inactive", "failed"})
"""ActiveState of a service that stops, and of one that has stopped."""


class Activation:
    """The socket units of servers on the system bus at ``address``."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def stopped_unit(self, socket: str) -> str:
        """Return the service that a connection would start, or "".

        Without a bus, or without systemd on it, this is not known, and "" is returned.
        """
        try:
            async with timeout(_PATIENCE), connected(self._address) as link:
                return await _stopped_unit(link, socket)
        except _ERRORS as error:
            log.debug("state of %s: %s", socket, error)
            return ""

    async def start(self, sockets: Sequence[str]) -> None:
        """Wait until one of the services runs, forever if the bus can't be asked."""
        try:
            async with self._followed(sockets) as (link, changed):
                while all([await _stopped_unit(link, socket) for socket in sockets]):
                    await link.wait_for(changed)
        except _ERRORS as error:
            log.debug("state of %s: %s", ", ".join(sockets), error)
            await asyncio.Event().wait()

    async def stop(self, socket: str) -> str:
        """Wait until a connection would start a service; return the service.

        The service may be about to stop. Then it no longer takes connections.
        """
        delays = pauses(_FIRST_RETRY, _LONGEST_RETRY)
        while True:
            try:
                return await self._await_stop(socket)
            except _ERRORS as error:
                log.debug("state of %s: %s", socket, error)
                await asyncio.sleep(next(delays))

    async def _await_stop(self, socket: str) -> str:
        """Wait until the service is stopped, and return it; raise an error of the bus."""
        async with self._followed([socket]) as (link, changed):
            while not (unit := await _stopped_unit(link, socket)):
                await link.wait_for(changed)
        return unit

    @asynccontextmanager
    async def _followed(
        self, sockets: Sequence[str]
    ) -> AsyncIterator[tuple[Connection, asyncio.Event]]:
        """Yield a connection, and the event that is set when a unit has changed."""
        changed = asyncio.Event()

        def deliver(_signals: Sequence[Signal | Changed]) -> None:
            changed.set()

        paths = [_object(unit) for one in sockets for unit in (one, service_of(one))]
        rule = (
            "type='signal',interface='org.freedesktop.DBus.Properties',"
            f"member='PropertiesChanged',sender='{_SYSTEMD}',path='{{}}'"
        )
        subscription = Subscription(
            sender=_SYSTEMD,
            rules=tuple(rule.format(path) for path in paths),
            filters=(_STATES,),
            accepts=lambda path: path in paths,
            deliver=deliver,
        )
        async with connected(self._address) as link, link.subscribed(subscription):
            # The manager sends signals only if a client has asked for them.
            await link.call((_SYSTEMD, _PATH, _MANAGER), "Subscribe")
            yield link, changed


async def _stopped_unit(link: Connection, socket: str) -> str:
    """Return the service that a connection to a socket unit would start, or ""."""
    service = service_of(socket)
    listening = await _property(link, socket, "SubState")
    if listening == _WAITING:
        return service
    # A connection made now would wait, and would start the service again after it has stopped.
    # Between the end of a service and the next state of its socket, nothing else shows that.
    state = await _property(link, service, "ActiveState")
    is_ended = state == _ENDING or (state in _ENDED and listening == _SERVED)
    return service if is_ended else ""


async def _property(link: Connection, unit: str, name: str) -> str:
    """Return a property of a unit, "" if the unit is not loaded. The call does not load it."""
    try:
        (path,) = await link.call((_SYSTEMD, _PATH, _MANAGER), "GetUnit", "s", (unit,))
        return str(await link.get(_SYSTEMD, path, _UNIT, name))
    except CallError:
        return ""


def service_of(socket: str) -> str:
    """Return the service of a socket unit. The service of the snap has another name."""
    return socket.removesuffix(".socket").removesuffix(".unix") + ".service"


def _object(unit: str) -> str:
    return f"{_PATH}/unit/{encode(unit)}"
