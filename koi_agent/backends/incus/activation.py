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
from koi_agent.core.errors import ungrouped

log = logging.getLogger(__name__)

_SYSTEMD: Final = "org.freedesktop.systemd1"
_PATH: Final = "/org/freedesktop/systemd1"
_MANAGER: Final = "org.freedesktop.systemd1.Manager"
_UNIT: Final = "org.freedesktop.systemd1.Unit"
_STATES: Final = PropertyFilter(_UNIT, {"ActiveState": "s", "SubState": "s"})
_PATIENCE: Final = 5.0
"""Seconds for each answer of the bus."""
_ERRORS: Final = (BusLost, CallError, OSError)  # a TimeoutError is an OSError, too
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0
"""Seconds until a bus that was lost is connected to again."""
_WAITING, _ENDING = "listening", "deactivating"
"""SubState of a socket unit whose service does not run, and ActiveState of one that stops."""


class Activation:
    """The socket units of a server on the system bus at ``address``."""

    def __init__(self, address: str, socket_units: Sequence[str]) -> None:
        self._address = address
        self._sockets = socket_units

    async def stopped_unit(self) -> str:
        """Return the service that a connection would start, or "".

        Without a bus, or without systemd on it, this can't be known and is "".
        """
        try:
            async with asyncio.timeout(_PATIENCE), connected(self._address) as link:
                return await self._stopped_unit(link)
        except _ERRORS as error:
            log.debug("state of %s: %s", ", ".join(self._sockets), error)
            return ""

    async def start(self) -> None:
        """Wait until no connection would start a service, forever if the bus can't be asked."""
        try:
            await self._wait_for(is_stopped=False)
        except _ERRORS as error:
            log.debug("state of %s: %s", ", ".join(self._sockets), error)
            await asyncio.Event().wait()

    async def stop(self) -> str:
        """Wait until a connection would start a service; return the service.

        The service may be about to stop. Then it no longer takes connections.
        """
        delays = pauses(_FIRST_RETRY, _LONGEST_RETRY)
        while True:
            try:
                return await self._wait_for(is_stopped=True)
            except _ERRORS as error:
                log.debug("state of %s: %s", ", ".join(self._sockets), error)
                await asyncio.sleep(next(delays))

    async def _wait_for(self, *, is_stopped: bool) -> str:
        """Wait until there is a stopped service, or no longer one; raise an error of the bus."""
        async with self._followed() as (link, changed):
            while bool(unit := await self._stopped_unit(link)) is not is_stopped:
                await _change(link, changed)
                changed.clear()
        return unit

    async def _stopped_unit(self, link: Connection) -> str:
        for socket in self._sockets:
            service = service_of(socket)
            if await _property(link, socket, "SubState") == _WAITING:
                return service
            # A connection that is made now waits, and starts the service again after its end.
            if await _property(link, service, "ActiveState") == _ENDING:
                return service
        return ""

    @asynccontextmanager
    async def _followed(self) -> AsyncIterator[tuple[Connection, asyncio.Event]]:
        """Yield a connection, and the event that is set when a unit has changed."""
        changed = asyncio.Event()

        def deliver(_signals: Sequence[Signal | Changed]) -> None:
            changed.set()

        paths = [_object(unit) for one in self._sockets for unit in (one, service_of(one))]
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


async def _change(link: Connection, changed: asyncio.Event) -> None:
    """Wait until a unit changes; raise ``BusLost``."""
    with ungrouped(BusLost):
        async with asyncio.TaskGroup() as group:
            lost = group.create_task(_end_with_bus(link), name="activation: bus")
            await changed.wait()
            lost.cancel()


async def _end_with_bus(link: Connection) -> None:
    raise BusLost(await link.wait_closed())


async def _property(link: Connection, unit: str, name: str) -> str:
    """Return a property of a unit, "" if the unit is not loaded. It is not loaded by this."""
    try:
        (path,) = await link.call((_SYSTEMD, _PATH, _MANAGER), "GetUnit", "s", (unit,))
        return str(await link.get(_SYSTEMD, path, _UNIT, name))
    except CallError:
        return ""


def service_of(socket: str) -> str:
    """Return the service of a socket unit. That of the snap has another name."""
    return socket.removesuffix(".socket").removesuffix(".unix") + ".service"


def _object(unit: str) -> str:
    return f"{_PATH}/unit/{encode(unit)}"
