"""Failover: uses the first provider that runs, and changes over when a better one appears."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Never, Protocol

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.mdns.records import MdnsRecord
from koi_agent.core.contracts import Provider, ProviderSession, Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.key import Key

log = logging.getLogger(__name__)


class Candidate(Provider[MdnsRecord], Protocol):
    """A provider that is present while ``name`` has an owner on the bus."""

    @property
    def name(self) -> str: ...

    async def usable(self, link: Connection) -> bool:
        """Return True if it publishes at all; raise as ``Connection.call`` does."""


@dataclass(frozen=True, slots=True)
class Failover:
    """A provider: the first usable one of ``candidates`` on the bus at ``address``."""

    address: str
    candidates: tuple[Candidate, ...]

    @property
    def absence(self) -> str:
        """The reasons of all candidates."""
        return ", and ".join(candidate.absence for candidate in self.candidates)

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[MdnsRecord]]:
        """Wait until a candidate is present and connect to it; raise ``ProviderLost``."""
        async with AsyncExitStack() as stack:
            try:
                link = await stack.enter_async_context(connected(self.address))
                presence = _Presence(link, self.candidates)
                await presence.watch(stack)
                chosen = await presence.first()
            except (BusLost, CallError, OSError) as error:  # a TimeoutError is one, too
                reason = str(error) or "no answer"
                raise ProviderLost(f"bus at {self.address}: {reason}") from error
            session = await stack.enter_async_context(chosen.session(report))
            yield _Session(session, presence, chosen)


class _Session:
    """A session that ends when another candidate takes over."""

    def __init__(
        self, session: ProviderSession[MdnsRecord], presence: "_Presence", chosen: Candidate
    ) -> None:
        self._session = session
        self._presence = presence
        self._chosen = chosen

    async def put(self, owner: Key, records: Sequence[MdnsRecord]) -> None:
        await self._session.put(owner, records)

    async def run(self) -> Never:
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    self._presence.wait_for_change(self._chosen), name="mdns: presence"
                )
                await self._session.run()
        raise AssertionError("a session ends by losing its provider")


class _Presence:
    """Watches which candidates have an owner on the bus."""

    def __init__(self, link: Connection, candidates: Sequence[Candidate]) -> None:
        self._link = link
        self._candidates = candidates
        self._owners: dict[str, str] = {}
        self._owner_changed = asyncio.Event()

    async def watch(self, stack: AsyncExitStack) -> None:
        for candidate in self._candidates:
            subscription = Subscription(
                sender=candidate.name, rules=(), members=frozenset(), deliver=self._on_signals
            )
            owner = await stack.enter_async_context(self._link.subscribed(subscription))
            self._owners.setdefault(candidate.name, owner)

    def _on_signals(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if isinstance(signal, Signal) and signal.member == "NameOwnerChanged":
                name, _, owner = signal.body
                self._owners[str(name)] = str(owner)
                self._owner_changed.set()

    async def first(self) -> Candidate:
        """Wait for a usable candidate; return the first."""
        while (found := await self._usable(self._candidates)) is None:
            await self._wait_for_owner()
        return found

    async def _usable(self, candidates: Sequence[Candidate]) -> Candidate | None:
        self._owner_changed.clear()
        for candidate in candidates:
            if self._owners[candidate.name] and await candidate.usable(self._link):
                return candidate
        return None

    async def _wait_for_owner(self) -> None:
        """Wait until an owner changes; raise ``ProviderLost`` when the bus is lost."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                lost = group.create_task(self._end_with_bus(), name="mdns: bus")
                await self._owner_changed.wait()
                lost.cancel()

    async def wait_for_change(self, chosen: Candidate) -> Never:
        """Raise ``ProviderLost`` when the candidate goes or a better one appears."""
        owner = self._owners[chosen.name]
        better = self._candidates[: self._candidates.index(chosen)]
        while self._owners[chosen.name] == owner:
            await self._wait_for_owner()
            try:
                if found := await self._usable(better):
                    raise ProviderLost(f"{found.name} is available now")
            except (CallError, TimeoutError) as error:
                log.debug("no better provider yet: %s", error)
            except BusLost as lost:
                raise ProviderLost(f"bus: {lost}") from lost
        raise ProviderLost(f"{chosen.name} left the bus")

    async def _end_with_bus(self) -> Never:
        raise ProviderLost(f"bus: {await self._link.wait_closed()}")
