"""One connection to systemd-machined: its signals, and the work that they cause."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final, Never

from koi_agent.backends.machined.address_schedule import AddressSchedule
from koi_agent.backends.machined.machines import BACKEND, HOST_CLASS, check_name, is_selected
from koi_agent.backends.machined.manager import Manager, Row, subscription
from koi_agent.backends.machined.read_queue import ReadQueue
from koi_agent.backends.machined.reader import Reader
from koi_agent.backends.machined.table import Known, MachineTable
from koi_agent.bus.client import Connection
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.config import MachinedConfig
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendLost, BadInput, ungrouped
from koi_agent.core.events import Gone, Listing, Seen
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.machine_units import MachineUnits
from koi_agent.host.owner_ports import HostPorts
from koi_agent.timeouts import timeout

log = logging.getLogger(__name__)

AWAY_TIMEOUT: Final = 10.0
"""Seconds that systemd-machined may be absent from the bus, for example during a restart."""
RETURN_PAUSE: Final = 0.1
"""Seconds after which systemd-machined is asked again if it has left the bus during a call."""


class Session:
    """Follows systemd-machined until it, or the bus, is gone.

    Signals are received from the subscription on. All that they cause is done in ``run``.
    ``machines`` outlive the session.
    """

    def __init__(
        self,
        connection: Connection,
        config: MachinedConfig,
        deliver: Deliver,
        machines: dict[str, Known],
        listeners: ListenerTable,
        units: MachineUnits,
    ) -> None:
        self._connection = connection
        self._config = config
        self._deliver: Deliver | None = deliver
        self._manager = Manager(connection)
        self._ports = HostPorts(listeners, self._on_ports_changed)
        self._table = MachineTable(machines, self._deliver_if_open, self._ports)
        self._queue = ReadQueue()
        self._schedule = AddressSchedule()
        self._reader = Reader(self._manager, self._table, self._queue, self._schedule, units)
        self._touched: set[str] = set()
        self._has_listed = asyncio.Event()
        self._present = asyncio.Event()
        self._owners: asyncio.Queue[str] = asyncio.Queue()
        self._doubts: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        self._version = ""
        self.subscription: Subscription = subscription(self._on_signals)

    async def open(self) -> None:
        """Read the version; systemd-machined is on the bus."""
        self._present.set()
        self._version = await self._manager.version()

    def close(self) -> None:
        """Stop delivering, even if a list is being read."""
        self._deliver = None
        self._present.set()  # a list that waits ends, too

    async def doubt(self) -> str:
        """Wait until signals may have been lost; return why."""
        return await self._doubts.get()

    async def list(self) -> Listing:
        """Return all machines that run; raise ``BackendLost``."""
        touched = self._touched = set[str]()
        self._table.list_requested()
        paths = dict(self._followed(await self._rows()))
        gone = await self._reader.read_listed(paths, touched)
        self._table.keep_listed((paths.keys() - gone) | touched)
        await self._ports.scan()
        self._table.deliver_touched(touched)
        if not self._has_listed.is_set():
            for name in self._table.names:  # some were known before a loss without addresses
                self._schedule.start(name)
        self._has_listed.set()
        return Listing(
            backend=BACKEND,
            instances=self._table.instances(),
            endpoint=self._connection.address,
            runtime_version=self._version,
            touched=frozenset(touched),
        )

    async def _rows(self) -> Sequence[Row]:
        """Return all machines; none while systemd-machined has exited because it has none."""
        while True:
            if not self._present.is_set() and not self._table:
                return ()
            await self._present.wait()
            if self._deliver is None:
                raise BackendLost("systemd-machined left the bus during a list")
            if (rows := await self._manager.list_machines()) is not None:
                return rows
            await asyncio.sleep(RETURN_PAUSE)

    async def run(self) -> Never:
        """Read what has changed; raise ``BackendLost`` when systemd-machined is lost."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch_bus(), name="machined: bus")
                group.create_task(self._watch_owner(), name="machined: owner")
                group.create_task(self._read_changed(), name="machined: properties")
                group.create_task(self._look(), name="machined: addresses")
                group.create_task(self._ports.run(), name="machined: listeners")
        raise AssertionError("a session ends by losing its backend")

    async def _watch_bus(self) -> Never:
        raise BackendLost(f"bus: {await self._connection.wait_closed()}")

    async def _watch_owner(self) -> Never:
        """List again when systemd-machined is back; raise ``BackendLost`` if it does not return.

        Without a machine it may exit until the next one starts. In that case, nothing is lost.
        """
        while True:
            while not await self._next_owner():
                pass
            self._list_again("systemd-machined is back on the bus")

    async def _next_owner(self) -> str:
        is_lost = not self._present.is_set() and len(self._table)
        try:
            async with timeout(AWAY_TIMEOUT if is_lost else None):
                return await self._owners.get()
        except TimeoutError as error:
            raise BackendLost("systemd-machined left the bus") from error

    async def _read_changed(self) -> Never:
        # Before the first list, there is nothing that a signal could change.
        await self._has_listed.wait()
        while True:
            await self._present.wait()
            await self._reader.read_changed()

    async def _look(self) -> Never:
        while True:
            await self._present.wait()
            await self._reader.look()

    # Signals

    def _on_signals(self, signals: Sequence[Signal | Changed]) -> None:
        """Apply the signals of one read of the bus, in order."""
        for signal in signals:
            match signal:
                case Signal(member="MachineNew", body=[str(name), str(path)]):
                    self._on_changed(name, path)
                case Signal(member="MachineRemoved", body=[str(name), str()]):
                    self._on_removed(name)
                case Changed(path=path):
                    self._on_changed(self._table.at(path), path)
                case Signal(member="NameOwnerChanged", body=[_, _, str(owner)]):
                    self._on_owner_changed(owner)
                case _:
                    log.debug("signal %s ignored", signal.member)

    def _on_changed(self, name: str, path: str) -> None:
        if name and self._is_followed(name):
            self._touched.add(name)
            self._schedule.start(name)
            if not self._queue.put(name, path):
                self._list_again("too many machines have changed")

    def _on_removed(self, name: str) -> None:
        if self._is_followed(name):
            self._touched.add(name)
            self._queue.discard(name)
            self._schedule.forget(name)
            self._table.remove(name, "removed")

    def _on_owner_changed(self, owner: str) -> None:
        if owner:
            self._present.set()
        else:
            self._present.clear()
        self._owners.put_nowait(owner)

    def _on_ports_changed(self, name: str) -> None:
        self._table.republish(name)

    def _followed(self, rows: Iterable[Row]) -> Iterable[tuple[str, str]]:
        """Yield name and path of the machines of a list that are followed."""
        for row in rows:
            if row.kind != HOST_CLASS and self._is_followed(row.name):
                yield row.name, row.path

    def _is_followed(self, name: str) -> bool:
        """Return True if the settings select a machine; log an impossible name."""
        try:
            check_name(name)
        except BadInput as bad:
            self._reader.complain(str(bad))
            return False
        return is_selected(name, self._config)

    def _list_again(self, reason: str) -> None:
        if self._doubts.empty():
            self._doubts.put_nowait(reason)

    def _deliver_if_open(self, change: Seen | Gone) -> None:
        if self._deliver:
            self._deliver(change)
