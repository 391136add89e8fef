"""One connection to one systemd manager: its signals, and the work that they cause."""

import asyncio
import logging
import re
import sys
from collections.abc import Sequence
from typing import Never

from koi_agent.backends.systemd.freezer import SIGNALS_FREEZER_SINCE, FreezerWatch
from koi_agent.backends.systemd.manager import READINGS, Manager, subscription
from koi_agent.backends.systemd.reconciler import Reconciler
from koi_agent.backends.systemd.selection import Selection
from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.backends.systemd.unit_table import UnitTable
from koi_agent.backends.systemd.units import BACKEND, unit_path
from koi_agent.bus.client import Connection
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.config import SystemdConfig
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendLost, ungrouped
from koi_agent.core.events import Gone, Listing, Seen
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.machine_units import MachineUnits
from koi_agent.timeouts import timeout

log = logging.getLogger(__name__)

REEXEC_TIMEOUT = 10.0
"""Seconds that systemd may be absent from the bus, as during ``systemctl daemon-reexec``."""
FREEZER_PAUSE = 0.05
"""Seconds after the first change of a control group for which others are left to be read together.
A unit that stops makes two, and most stop with others."""
WORKERS = READINGS
"""Queries answered at the same time."""


class Session:
    """Follows one manager until it, or the bus, is gone.

    Signals are received from the subscription on. All that they cause is done in ``run``.
    """

    def __init__(
        self,
        connection: Connection,
        config: SystemdConfig,
        deliver: Deliver,
        files: UnitFileReader,
        listeners: ListenerTable,
        machine_units: MachineUnits,
    ) -> None:
        self._connection = connection
        self._deliver: Deliver | None = deliver
        self._freezer = FreezerWatch()
        self._machine_units = machine_units
        selection = Selection(config, machine_units)
        self._table = UnitTable(selection, self._deliver_if_open, self._freezer)
        self._manager = Manager(connection)
        self._reconciler = Reconciler(selection, self._manager, self._table, files, listeners)
        self._version = ""
        self._doubts: asyncio.Queue[str] = asyncio.Queue()
        self._owners: asyncio.Queue[str] = asyncio.Queue()
        self.subscription: Subscription = subscription(
            self._table.filter.matches_path, self._on_signals
        )

    async def open(self) -> None:
        """Subscribe to the manager's signals and read its version; raises ``BackendLost``."""
        self._machine_units.watch(self._on_machine_unit)
        await self._manager.subscribe()
        self._version = await self._manager.version()
        if _major(self._version) < SIGNALS_FREEZER_SINCE:
            self._freezer.open()

    async def appearance(self) -> None:
        """Wait until systemd gets its name on the bus; raises ``BackendLost`` with the bus."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch_bus(), name="systemd: bus until it appears")
                while not await self._owners.get():
                    pass
                watch.cancel()

    def close(self) -> None:
        """Stop delivering, even if a list is being read."""
        self._deliver = None
        self._machine_units.unwatch(self._on_machine_unit)
        self._freezer.close()

    async def doubt(self) -> str:
        """Wait until signals may have been lost; returns why."""
        return await self._doubts.get()

    async def list(self) -> Listing:
        """Return all units that run; raises ``BackendLost``."""
        instances, changing = await self._reconciler.list()
        return Listing(
            backend=BACKEND,
            instances=instances,
            endpoint=self._connection.address,
            runtime_version=self._version,
            touched=frozenset(changing),
        )

    async def run(self) -> Never:
        """Answer the table's queries and act on its deadlines; raises ``BackendLost``."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch_bus(), name="systemd: bus")
                group.create_task(self._watch_owner(), name="systemd: owner")
                group.create_task(self._run_timer(), name="systemd: timer")
                if self._freezer.is_open:
                    group.create_task(self._watch_freezer(), name="systemd: freezer")
                for number in range(WORKERS):
                    group.create_task(self._answer_queries(), name=f"systemd: worker {number}")
        raise AssertionError("a session ends by losing its backend")

    async def _watch_bus(self) -> Never:
        raise BackendLost(f"bus: {await self._connection.wait_closed()}")

    async def _watch_owner(self) -> Never:
        """Subscribe again when systemd is back; raises ``BackendLost`` if it stays away."""
        owner = "the one that was subscribed to"
        while True:
            try:
                async with timeout(None if owner else REEXEC_TIMEOUT):
                    owner = await self._owners.get()
            except TimeoutError as error:
                raise BackendLost("systemd left the bus") from error
            if owner:
                await self._manager.subscribe()
                self._list_again("systemd is back on the bus")

    async def _run_timer(self) -> Never:
        while True:
            await self._table.deadline()
            self._table.deadlines_passed()

    async def _watch_freezer(self) -> Never:
        while True:
            for path, state in (await self._freezer.changes()).items():
                self._table.freezer_state_changed(path, state)
            await asyncio.sleep(FREEZER_PAUSE)

    async def _answer_queries(self) -> Never:
        while True:
            await self._reconciler.answer(await self._table.next_query())

    def _on_signals(self, signals: Sequence[Signal | Changed]) -> None:
        """Apply the signals of one read of the bus, in order."""
        for signal in signals:
            match signal:
                case Changed():
                    self._table.properties_changed(signal.path, signal.values)
                case Signal(member="UnitNew", body=[str(name), str(path)]):
                    self._table.unit_loaded(name, path)
                case Signal(member="UnitRemoved", body=[str(name), str(path)]):
                    self._table.unit_unloaded(name, path)
                case Signal(member="Reloading", body=[is_reloading]):
                    self._on_reloading(is_reloading=bool(is_reloading))
                case Signal(member="NameOwnerChanged", body=[_, _, str(owner)]):
                    self._on_owner_changed(owner)
                case _:
                    log.debug("signal %s ignored", signal.member)
        self._table.evaluate()

    def _on_machine_unit(self, name: str) -> None:
        self._table.machine_unit_changed(name)
        if self._table.has_unit(unit_path(name)):
            self._machine_units.read([name])

    def _on_reloading(self, *, is_reloading: bool) -> None:
        if is_reloading:
            self._table.reload_started()
        else:
            self._table.reload_finished()
            self._list_again("systemd has reloaded")

    def _on_owner_changed(self, owner: str) -> None:
        """Handle an absence from the bus as a reload, which ``daemon-reexec`` includes."""
        if owner:
            self._table.reload_finished()
        else:
            self._table.reload_started()
        self._owners.put_nowait(owner)

    def _list_again(self, reason: str) -> None:
        if self._doubts.empty():
            self._doubts.put_nowait(reason)

    def _deliver_if_open(self, change: Seen | Gone) -> None:
        if self._deliver:
            self._deliver(change)


def _major(version: str) -> int:
    """Parse the number at the start of a version; one that can't be parsed counts as new."""
    digits = re.match(r"[0-9]+", version)
    return int(digits[0]) if digits else sys.maxsize
