"""What the systemd manager is asked: no more than the signals don't say.

Reading a property of a unit that is not loaded loads it, and everybody is told; so only units
that run are asked after, and nothing is asked because a unit was loaded.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from koi_agent.bus.client import CallError, Connection
from koi_agent.bus.signals import PropertyFilter, Subscription
from koi_agent.bus.writer import BusLost
from koi_agent.core.errors import BackendLost, ungrouped

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
SERVICE = "org.freedesktop.systemd1.Service"
SOCKET = "org.freedesktop.systemd1.Socket"
PATH = "/org/freedesktop/systemd1"
IN_FLIGHT = 32
"""Calls under way at one time; a bus allows 128."""

WITH_GROUP = {
    ".service": SERVICE,
    ".scope": "org.freedesktop.systemd1.Scope",
    ".slice": "org.freedesktop.systemd1.Slice",
    ".socket": SOCKET,
    ".mount": "org.freedesktop.systemd1.Mount",
    ".swap": "org.freedesktop.systemd1.Swap",
}
"""Unit types that have a control group, and the interface that tells it."""

PICKS = (
    PropertyFilter(
        UNIT,
        {
            "ActiveState": "s",
            "SubState": "s",
            "FreezerState": "s",
            "InvocationID": "ay",
            "InactiveExitTimestampMonotonic": "t",
        },
    ),
    PropertyFilter(SERVICE, {"MainPID": "u", "NRestarts": "u"}),
)
SIGNALS = ("UnitNew", "UnitRemoved", "Reloading")


def subscription(wants: Callable[[str], bool], deliver: Callable[..., None]) -> Subscription:
    """Ask for what decides: five rules, whatever the number of units."""
    changed = (
        f"type='signal',sender='{SYSTEMD}',path_namespace='{PATH}/unit',"
        "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',arg0='{}'"
    )
    member = f"type='signal',sender='{SYSTEMD}',path='{PATH}',interface='{MANAGER}',member='{{}}'"
    return Subscription(
        sender=SYSTEMD,
        rules=(
            *(changed.format(pick.interface) for pick in PICKS),
            *(member.format(name) for name in SIGNALS),
        ),
        members=frozenset((MANAGER, name) for name in SIGNALS),
        filters=PICKS,
        accepts=wants,
        deliver=deliver,
    )


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the bus's troubles into the backend's."""
    try:
        yield
    except (BusLost, CallError) as error:
        raise BackendLost(str(error)) from error
    except TimeoutError as error:
        raise BackendLost("systemd does not answer") from error


class Manager:
    """Questions to one manager over one link; all raise ``BackendLost``."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def subscribe(self) -> None:
        """Have the manager send its signals; once for each connection is enough."""
        async with translated():
            try:
                await self._link.call((SYSTEMD, PATH, MANAGER), "Subscribe")
            except CallError as error:
                if error.name != "org.freedesktop.systemd1.AlreadySubscribed":
                    raise

    async def version(self) -> str:
        """Tell the manager's version, as ``252.38-1~deb12u1``."""
        async with translated():
            return str(await self._link.get(SYSTEMD, PATH, MANAGER, "Version"))

    async def units(self, patterns: Sequence[str]) -> list[list[Any]]:
        """List loaded units by name patterns, without loading any."""
        async with translated():
            (rows,) = await self._link.call(
                (SYSTEMD, PATH, MANAGER), "ListUnitsByPatterns", "asas", ([], list(patterns))
            )
        return list(rows)

    async def properties(self, path: str, wanted: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Read some (interface, property) pairs of a unit; those it has not are left out."""
        values = {}
        async with translated():
            for interface, name in wanted:
                async with self._slots:
                    try:
                        values[name] = await self._link.get(SYSTEMD, path, interface, name)
                    except CallError:
                        continue
        return values


async def each(todo: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Do many things, some at a time; the first trouble ends all and is raised as itself."""
    waiting = iter(list(todo))

    async def work() -> None:
        for one in waiting:
            await one()

    with ungrouped(BackendLost):
        async with asyncio.TaskGroup() as group:
            for number in range(IN_FLIGHT):
                group.create_task(work(), name=f"query {number}")
