"""The real listeners of containers on the host's network, found by their control groups.

Such a container publishes nothing: what it serves is what it listens on, like a unit.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final, Never

from koi_agent.core.instance import KoiMetadata, PortMapping
from koi_agent.core.ports import merge_binds
from koi_agent.host.cgroups import exists, users_manager
from koi_agent.host.listener_schedule import ListenerSchedule
from koi_agent.host.listeners import ListenersByOwner, ListenerTable, ephemeral_ports, served

REPEAT: Final = 60.0
"""Seconds after which all are looked at again, as they may open ports at any time."""


class HostPorts:
    """Ports by container id; ``changed`` is called with the id of one whose ports are others."""

    def __init__(self, census: ListenerTable, changed: Callable[[str], None]) -> None:
        self._census = census
        self._changed = changed
        self._schedule = ListenerSchedule()
        self._holders = ListenersByOwner()
        self._ephemeral = ephemeral_ports()
        self._groups: dict[str, str] = {}
        self._metadata: dict[str, KoiMetadata] = {}
        self._wanted = asyncio.Event()

    def follow(self, id_: str, control_group: str, metadata: KoiMetadata) -> None:
        """Look for the ports of a container that started, or was found running."""
        self._groups[id_] = control_group
        self._metadata[id_] = metadata
        self._schedule.started(time.monotonic())
        self._wanted.set()

    def forget(self, id_: str) -> None:
        """Look for one's ports no more; of one that was not looked for, do nothing."""
        self._groups.pop(id_, None)
        self._metadata.pop(id_, None)
        self._holders.forget(id_)

    def of(self, id_: str) -> tuple[PortMapping, ...]:
        """Tell the ports that a container listens on, in order."""
        if id_ not in self._groups:
            return ()
        listeners = self._holders.of(id_)
        mine = served(listeners, self._metadata[id_], ephemeral=self._ephemeral)
        return tuple(sorted(merge_binds(mine)))

    async def run(self) -> Never:
        """Look whenever it is time; where nobody is followed, there is nothing to wake up for."""
        while True:
            if not self._groups:
                self._wanted.clear()
                await self._wanted.wait()
            await self._rest()
            await self.look()

    async def look(self) -> None:
        """Look now, if anybody is followed, and say whose ports are others."""
        began = time.monotonic()
        seen = await self._census.look() if self._groups else None
        self._schedule.taken(began, took=time.monotonic() - began)
        if seen is not None:
            for id_ in sorted(self._holders.take(seen, self._groups)):
                self._changed(id_)

    async def _rest(self) -> None:
        """Wait for the next look; one that starts meanwhile makes it an earlier one."""
        until = time.monotonic() + REPEAT
        while (wait := min(until, self._schedule.due() or until) - time.monotonic()) > 0:
            self._wanted.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wanted.wait()
            except TimeoutError:
                return


def docker_group(id_: str, parent: str, driver: str) -> str:
    """Find the control group of a Docker container; "" where it is not where it should be.

    The engine does not tell it: it follows from the driver (``systemd`` or ``cgroupfs``), from
    the container's ``CgroupParent``, and from whether it is a user's own engine.
    """
    return next(filter(exists, docker_groups(id_, parent, driver, users_manager())), "")


def docker_groups(id_: str, parent: str, driver: str, manager: str) -> Iterator[str]:
    """Name the control groups that a container may be in, as runc makes them.

    ``manager`` is the group of the user's manager that we run under, "" if there is none.
    """
    if driver == "systemd":
        yield f"{_slice(parent or 'system.slice')}/docker-{id_}.scope"
        if manager:
            yield f"{manager}{_slice(parent or 'user.slice')}/docker-{id_}.scope"
    else:
        yield f"/{(parent or 'docker').strip('/')}/{id_}"


def _slice(name: str) -> str:
    """Find the path of a slice, whose name says what it is in (systemd.slice(5))."""
    parts = [part for part in name.removesuffix(".slice").split("-") if part]
    return "".join(f"/{'-'.join(parts[: end + 1])}.slice" for end in range(len(parts)))
