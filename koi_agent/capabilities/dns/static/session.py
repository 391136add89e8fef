"""One session of static records: it ends when systemd-resolved leaves the system bus."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Never

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.static.file import StaticFile, clear
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.key import Key

RESOLVED: Final = "org.freedesktop.resolve1"


@asynccontextmanager
async def following(
    address: str, file: Path, link: Path, report: Report
) -> AsyncIterator[ProviderSession[Name]]:
    """Wait for systemd-resolved on the bus at ``address``, and write until the context is left.

    Raises ``ProviderLost``, also if ``link`` does not lead to ``file``. The records are withdrawn
    at the end, but not when systemd-resolved is lost: it reads them again when it is back.
    """
    try:
        async with connected(address) as bus:
            presence = _Presence(bus)
            async with bus.subscribed(presence.subscription()) as owner:
                await presence.arrival(owner)
                _check(link, file)
                session = _Session(StaticFile(file, report), presence)
                try:
                    yield session
                finally:
                    if not session.is_lost:
                        clear(file)
    except (BusLost, CallError, TimeoutError) as error:
        raise ProviderLost(f"bus at {address}: {str(error) or 'no answer'}") from error


def _check(link: Path, file: Path) -> None:
    """Raise ``ProviderLost`` if systemd-resolved would not read the file."""
    if link.resolve() != file.resolve():
        raise ProviderLost(f"{link}: no link to {file}; install the package again")


class _Session:
    """A session that ends with systemd-resolved."""

    def __init__(self, file: StaticFile, presence: "_Presence") -> None:
        self._file = file
        self._presence = presence
        self.is_lost = False

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        await self._file.put(owner, records)

    def complete(self) -> None:
        self._file.complete()

    async def run(self) -> Never:
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until_lost(), name="dns: systemd-resolved")
                await self._file.run()
        raise AssertionError("a file is written until the task is cancelled")

    async def _until_lost(self) -> Never:
        try:
            await self._presence.departure()
        except ProviderLost:
            self.is_lost = True
            raise


class _Presence:
    """Follows on the bus whether systemd-resolved runs."""

    def __init__(self, bus: Connection) -> None:
        self._bus = bus
        self._owner = ""
        self._changed = asyncio.Event()

    def subscription(self) -> Subscription:
        """Return the subscription to changes of the owner."""
        return Subscription(
            sender=RESOLVED, rules=(), members=frozenset(), deliver=self._on_signals
        )

    def _on_signals(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if isinstance(signal, Signal) and signal.member == "NameOwnerChanged":
                self._owner = str(signal.body[2])
                self._changed.set()

    async def arrival(self, owner: str) -> None:
        """Wait until the name has an owner; it had ``owner`` when the subscription began."""
        if not self._changed.is_set():
            self._owner = owner
        while not self._owner:
            await self._change()

    async def departure(self) -> Never:
        """Raise ``ProviderLost`` when another process or none has the name."""
        first = self._owner
        while self._owner == first:
            await self._change()
        raise ProviderLost("systemd-resolved left the bus")

    async def _change(self) -> None:
        """Wait until the owner changes; raise ``ProviderLost`` when the bus is lost."""
        self._changed.clear()
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                lost = group.create_task(self._end_with_bus(), name="dns: bus")
                await self._changed.wait()
                lost.cancel()

    async def _end_with_bus(self) -> Never:
        raise ProviderLost(f"bus: {await self._bus.wait_closed()}")
