"""D-Bus calls to a systemd manager, and the signals that are received from it.

Reading a property of a unit that is not loaded loads the unit, and every subscriber gets UnitNew
and UnitRemoved. So properties are read only of units that a signal or a list has shown as running.
UnitNew shows nothing: a list is read first. A unit that ends in the meantime may be loaded again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from koi_agent.bus.calls import PROPERTIES, Call
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
READINGS = 20
"""Objects that are read at the same time, each by a handful of calls. The bus allows 128 calls
without a reply for each connection."""

CONTROL_GROUP_INTERFACES = {
    ".service": SERVICE,
    ".scope": "org.freedesktop.systemd1.Scope",
    ".slice": "org.freedesktop.systemd1.Slice",
    ".socket": SOCKET,
    ".mount": "org.freedesktop.systemd1.Mount",
    ".swap": "org.freedesktop.systemd1.Swap",
}
"""The interface that has ControlGroup, by the suffix of unit types that have one."""

SIGNALED_PROPERTIES = (
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
MANAGER_SIGNALS = ("UnitNew", "UnitRemoved", "Reloading")


class UnitStatus(NamedTuple):
    """The columns of ListUnits that the backend uses; ``job_type`` is "" without a job."""

    name: str
    active_state: str
    sub_state: str
    path: str
    job_type: str = ""


def subscription(wants: Callable[[str], bool], deliver: Callable[..., None]) -> Subscription:
    """Return the subscription of a session: five match rules for any number of units.

    ``wants`` gets the object path of a unit and returns whether its properties are read.
    """
    properties_rule = (
        f"type='signal',sender='{SYSTEMD}',path_namespace='{PATH}/unit',"
        "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',arg0='{}'"
    )
    rule = f"type='signal',sender='{SYSTEMD}',path='{PATH}',interface='{MANAGER}',member='{{}}'"
    return Subscription(
        sender=SYSTEMD,
        rules=(
            *(properties_rule.format(wanted.interface) for wanted in SIGNALED_PROPERTIES),
            *(rule.format(member) for member in MANAGER_SIGNALS),
        ),
        members=frozenset((MANAGER, member) for member in MANAGER_SIGNALS),
        filters=SIGNALED_PROPERTIES,
        accepts=wants,
        deliver=deliver,
    )


@asynccontextmanager
async def backend_errors() -> AsyncIterator[None]:
    """Raise errors of the bus as ``BackendLost``."""
    try:
        yield
    except (BusLost, CallError) as error:
        raise BackendLost(str(error)) from error
    except TimeoutError as error:
        raise BackendLost("systemd does not answer") from error


class Manager:
    """Calls to one manager on one connection; all raise ``BackendLost``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._slots = asyncio.Semaphore(READINGS)

    async def subscribe(self) -> None:
        """Call Subscribe: the manager sends signals of units only while a client has done so."""
        async with backend_errors():
            try:
                await self._connection.call((SYSTEMD, PATH, MANAGER), "Subscribe")
            except CallError as error:
                if error.name != "org.freedesktop.systemd1.AlreadySubscribed":
                    raise

    async def version(self) -> str:
        """Return the manager's version, such as ``252.38-1~deb12u1``."""
        async with backend_errors():
            return str(await self._connection.get(SYSTEMD, PATH, MANAGER, "Version"))

    async def list_units(self, patterns: Iterable[str]) -> list[UnitStatus]:
        """Return the loaded units that match a pattern; loads none."""
        async with backend_errors():
            (rows,) = await self._connection.call(
                (SYSTEMD, PATH, MANAGER), "ListUnitsByPatterns", "asas", ([], list(patterns))
            )
        return [UnitStatus(row[0], row[3], row[4], row[6], row[8]) for row in rows]

    async def properties(self, path: str, wanted: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Return some (interface, property) pairs of a unit, without those that it lacks."""
        target = (SYSTEMD, path, PROPERTIES)
        pairs = list(wanted)
        async with backend_errors(), self._slots:
            calls = [Call(target, "Get", "ss", pair, "v") for pair in pairs]
            replies = await self._connection.call_all(calls)
        return {
            name: reply[0]
            for (_, name), reply in zip(pairs, replies, strict=True)
            if not isinstance(reply, CallError)
        }


async def run_all(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run many calls, a few at a time; the first error ends all and is raised without a group."""
    waiting = iter(calls)

    async def run_some() -> None:
        for call in waiting:
            await call()

    with ungrouped(BackendLost):
        async with asyncio.TaskGroup() as group:
            for number in range(min(READINGS, len(calls))):
                group.create_task(run_some(), name=f"query {number}")
