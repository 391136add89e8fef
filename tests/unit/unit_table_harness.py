"""A ``UnitTable`` with a fake systemd: signals go in, delivered changes come out."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from koi_agent.backends.systemd.freezer import FreezerWatch
from koi_agent.backends.systemd.manager import MANAGER, PATH, SERVICE, UNIT, Manager
from koi_agent.backends.systemd.queries import CheckStopped, Query, ReadSocket, ReadUnit
from koi_agent.backends.systemd.reconciler import Reconciler
from koi_agent.backends.systemd.selection import Selection
from koi_agent.backends.systemd.stops import COLLECT
from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.backends.systemd.unit_table import UnitTable
from koi_agent.backends.systemd.units import ROOT, unit_path
from koi_agent.bus.calls import Call
from koi_agent.bus.client import CallError, Connection
from koi_agent.bus.object_paths import encode
from koi_agent.bus.signals import Changed, Signal
from koi_agent.config import SystemdConfig
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import Instance
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.machine_units import MachineUnits

Item = Signal | Changed


class FakeConnection:
    """A connection to a fake manager: ``rows`` of its list, properties by object path.

    ``meanwhile`` are signals for ``receive`` that arrive while the list ("units") or a path is
    read. ``calls`` are the members called, ``read`` the paths read, and ``together`` the numbers of
    calls that were sent at one time.
    """

    address = "unix:path=/fake"

    def __init__(self, version: str = "257.1") -> None:
        self.rows: list[list[Any]] = []
        self.properties: dict[str, dict[str, Any]] = {PATH: {"Version": version}}
        self.calls: list[str] = []
        self.read: list[str] = []
        self.together: list[int] = []
        self.meanwhile: list[tuple[str, list[Item]]] = []
        self.receive: Callable[[Sequence[Item]], None] = lambda _items: None
        self.is_lost = asyncio.Event()

    async def call(self, _target: object, member: str, *_body: object) -> list[Any]:
        self.calls.append(member)
        if member == "ListUnitsByPatterns":
            self._receive_meanwhile("units")
            return [self.rows]
        return []

    async def get(self, _destination: str, path: str, _interface: str, name: str) -> object:
        await asyncio.sleep(0)
        return self._property(path, name)

    async def call_all(self, calls: Sequence[Call]) -> list[list[Any] | CallError]:
        self.together.append(len(calls))
        await asyncio.sleep(0)
        return [self._reply(call.target[1], call.body[1]) for call in calls]

    def _reply(self, path: str, name: str) -> list[Any] | CallError:
        try:
            return [self._property(path, name)]
        except CallError as error:
            return error

    def _property(self, path: str, name: str) -> object:
        self.read.append(path)
        self._receive_meanwhile(path)
        known = {"ControlGroup": path, **self.properties.get(path, {})}
        if name not in known:
            raise CallError("org.freedesktop.DBus.Error.UnknownProperty", name)
        return known[name]

    async def wait_closed(self) -> str:
        await self.is_lost.wait()
        return "closed"

    def _receive_meanwhile(self, where: str) -> None:
        due = [items for at, items in self.meanwhile if at == where]
        self.meanwhile = [one for one in self.meanwhile if one[0] != where]
        for items in due:
            self.receive(items)


class Harness:
    """A table whose queries are answered, and whose deadlines pass, on request of a test."""

    def __init__(
        self, config: SystemdConfig | None = None, freezer: FreezerWatch | None = None
    ) -> None:
        config = config or SystemdConfig()
        self.reasons: list[str] = []
        self.last: dict[str, Instance] = {}
        self.systemd = FakeConnection()
        self.systemd.receive = self.apply
        self.machine_units = MachineUnits()
        selection = Selection(config, self.machine_units)
        self.table = UnitTable(selection, self._deliver, freezer or FreezerWatch())
        self.machine_units.watch(self._on_machine_unit)
        manager = Manager(cast("Connection", self.systemd))
        files = UnitFileReader({})
        self.reconciler = Reconciler(selection, manager, self.table, files, ListenerTable())
        self._delivered: list[str] = []
        self._queries: list[Query] = []

    def _deliver(self, change: Seen | Gone) -> None:
        if isinstance(change, Seen):
            self.last[change.instance.id] = change.instance
            self._delivered.append(f"{change.instance.name} {change.instance.state_detail}")
        else:
            self.last.pop(change.id, None)
            self.reasons.append(change.reason)
            self._delivered.append(f"{change.id.removesuffix('.service')} gone")

    def _on_machine_unit(self, name: str) -> None:
        """Pass on a change as a session does."""
        self.table.machine_unit_changed(name)
        if self.table.has_unit(unit_path(name)):
            self.machine_units.read([name])

    def receive(self, *items: Item) -> None:
        """Apply the signals of one read to the table."""
        self.apply(items)

    def apply(self, items: Sequence[Item]) -> None:
        """Apply the signals of one read to the table, as a session does."""
        for item in items:
            match item:
                case Changed(path=path, values=values):
                    self.table.properties_changed(path, values)
                case Signal(member="UnitNew", body=[name, path]):
                    self.table.unit_loaded(name, path)
                case Signal(member="UnitRemoved", body=[name, path]):
                    self.table.unit_unloaded(name, path)
                case Signal():
                    raise ValueError(f"{item.member}: not a signal of units")
        self.table.evaluate()

    async def queries(self) -> list[Query]:
        """Return the queries that have not been answered."""
        try:
            while True:
                async with asyncio.timeout(0):
                    self._queries.append(await self.table.next_query())
        except TimeoutError:
            return self._queries

    async def reads(self) -> list[str]:
        """Return the names of the units that are to be read."""
        queries = await self.queries()
        return [one.name for one in queries if isinstance(one, ReadUnit | ReadSocket)]

    async def answer(self, *, last_first: bool = False) -> None:
        """Answer all queries."""
        while queries := await self.queries():
            await self.reconciler.answer(queries.pop(-1 if last_first else 0))

    async def settle(self) -> None:
        """Wait until the manager is asked about dead units, and answer only that."""
        await self.wait(COLLECT)
        checks = [one for one in await self.queries() if isinstance(one, CheckStopped)]
        for check in checks:
            self._queries.remove(check)
            await self.reconciler.answer(check)

    async def wait(self, seconds: float) -> None:
        """Wait some seconds, and apply the deadlines that have passed."""
        await asyncio.sleep(seconds + 0.002)
        self.table.deadlines_passed()

    async def listed(self) -> tuple[list[str], set[str]]:
        """List the units; returns the names of those that run and of those that are changing."""
        instances, changing = await self.reconciler.list()
        return sorted(instance.id for instance in instances), changing

    def delivered(self) -> list[str]:
        """Return what was delivered since the last call."""
        delivered, self._delivered = self._delivered, []
        return delivered

    async def play(self, *reads: Sequence[Item]) -> list[str]:
        """Apply several reads, answer each, and settle; returns what is delivered."""
        for items in reads:
            self.receive(*items)
            await self.answer()
        await self.settle()
        return self.delivered()


def path(name: str) -> str:
    return ROOT + encode(name)


def changed(  # noqa: PLR0913 - what a pair of signals can have
    states: str,
    name: str = "web.service",
    *,
    pid: int | None = None,
    run: bytes | None = None,
    restarts: int | None = None,
    freezer: str | None = None,
    started: float | None = None,
) -> list[Item]:
    """Return the pair of signals that a change of a unit sends: the service's first."""
    active, _, sub = states.partition("/")
    service = {"MainPID": pid, "NRestarts": restarts}
    unit = {
        "ActiveState": active,
        "SubState": sub,
        "InvocationID": run,
        "FreezerState": freezer,
        "InactiveExitTimestampMonotonic": None if started is None else int(started * 1e6),
    }
    return [
        Changed(path(name), interface, {k: v for k, v in values.items() if v is not None})
        for interface, values in ((SERVICE, service), (UNIT, unit))
    ]


def unit_new(name: str) -> Signal:
    return manager_signal("UnitNew", name, path(name))


def unit_removed(name: str) -> Signal:
    return manager_signal("UnitRemoved", name, path(name))


def manager_signal(member: str, *body: object) -> Signal:
    return Signal(PATH, MANAGER, member, list(body))


def row(name: str, states: str = "active/running", job: str = "") -> list[Any]:
    """Return a row of a manager's list; ``job`` is the type of the unit's job."""
    active, _, sub = states.partition("/")
    return [name, "", "loaded", active, sub, "", path(name), 7 if job else 0, job, "/"]
