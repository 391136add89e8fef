"""The listening sockets of containers and machines on the host's network, by their control groups.

Such a container publishes no port: its ports are what it listens on, as with a unit.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Never

from koi_agent.core.instance import KoiMetadata, PortMapping
from koi_agent.core.ports import merge_binds
from koi_agent.host.listener_schedule import ListenerSchedule
from koi_agent.host.listeners import ListenersByOwner, ListenerTable, ephemeral_ports, served
from koi_agent.timeouts import set_within

SCAN_INTERVAL: Final = 60.0
"""Seconds after which all listeners are scanned again: a container may open a port at any time."""


class HostPorts:
    """Ports by container id; ``on_change`` is called with the id of each whose ports change."""

    def __init__(self, table: ListenerTable, on_change: Callable[[str], None]) -> None:
        self._table = table
        self._on_change = on_change
        self._schedule = ListenerSchedule()
        self._listeners = ListenersByOwner()
        self._ephemeral = ephemeral_ports()
        self._groups: dict[str, str] = {}
        self._metadata: dict[str, KoiMetadata] = {}
        self._wakeup = asyncio.Event()

    def follow(self, id_: str, control_group: str, metadata: KoiMetadata) -> None:
        """Scan for the ports of a container from now on; call it again after a restart."""
        self._groups[id_] = control_group
        self._metadata[id_] = metadata
        self._schedule.started(id_, time.monotonic())
        self._wakeup.set()

    def forget(self, id_: str) -> None:
        """Stop scanning for the ports of a container, if it is followed."""
        self._groups.pop(id_, None)
        self._metadata.pop(id_, None)
        self._schedule.ended(id_)
        self._listeners.remove(id_)

    def ports_of(self, id_: str) -> tuple[PortMapping, ...]:
        """Return the sorted ports that a container listens on."""
        if id_ not in self._groups:
            return ()
        listeners = self._listeners.of(id_)
        ports = served(listeners, self._metadata[id_], ephemeral=self._ephemeral)
        return tuple(sorted(merge_binds(ports)))

    async def run(self) -> Never:
        """Scan at the scheduled times; without a followed container nothing wakes up."""
        while True:
            if not self._groups:
                self._wakeup.clear()
                await self._wakeup.wait()
            await self._wait_until_due()
            await self.scan()

    async def scan(self) -> None:
        """Scan now if a container is followed, and report the containers whose ports changed."""
        began = time.monotonic()
        found = await self._table.read() if self._groups else None
        self._schedule.done(began, took=time.monotonic() - began)
        if found is not None:
            for id_ in sorted(self._listeners.update(found, self._groups)):
                self._on_change(id_)

    async def _wait_until_due(self) -> None:
        """Wait for the next scan; a container that starts meanwhile may bring it forward."""
        until = time.monotonic() + SCAN_INTERVAL
        while (wait := min(until, self._schedule.next_due()) - time.monotonic()) > 0:
            self._wakeup.clear()
            if not await set_within(self._wakeup, wait):
                return
