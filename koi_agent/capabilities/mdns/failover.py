"""The first that runs, of several who could publish: waited for, and left when a better comes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Never, Protocol

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.bus.writer import BusLost
from koi_agent.core.contracts import Provider, ProviderSession, Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.plan.records import Record

log = logging.getLogger(__name__)


class Candidate(Provider, Protocol):
    """A provider that is there when ``name`` has an owner on the bus."""

    name: str

    async def usable(self, link: Connection) -> bool:
        """Tell whether it publishes at all; raises as ``Connection.call`` does."""


class Failover:
    """A provider: the first of ``candidates`` that is on the bus at ``address``, and of use."""

    def __init__(self, address: str, *candidates: Candidate) -> None:
        self._address = address
        self._candidates = candidates
        self.absence = ", and ".join(candidate.absence for candidate in candidates)

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession]:
        """Wait until one is there; raises ``ProviderLost``."""
        async with AsyncExitStack() as stack:
            try:
                link = await stack.enter_async_context(connected(self._address))
                presence = _Presence(link, self._candidates)
                await presence.watch(stack)
                chosen = await presence.first()
            except (BusLost, CallError, OSError) as error:  # a TimeoutError is one, too
                said = str(error) or "no answer"
                raise ProviderLost(f"bus at {self._address}: {said}") from error
            session = await stack.enter_async_context(chosen.session(report))
            yield _Session(session, presence, chosen)


class _Session:
    """A session that ends when another candidate is to have its turn."""

    def __init__(self, session: ProviderSession, presence: "_Presence", chosen: Candidate) -> None:
        self._session = session
        self._presence = presence
        self._chosen = chosen

    async def put(self, key: str, records: Sequence[Record]) -> None:
        await self._session.put(key, records)

    async def run(self) -> Never:
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._presence.over(self._chosen), name="mdns: presence")
                await self._session.run()
        raise AssertionError("a session ends by losing its provider")


class _Presence:
    """Who of the candidates is there."""

    def __init__(self, link: Connection, candidates: Sequence[Candidate]) -> None:
        self._link = link
        self._candidates = candidates
        self._owners: dict[str, str] = {}
        self._moved = asyncio.Event()

    async def watch(self, stack: AsyncExitStack) -> None:
        for candidate in self._candidates:
            subscription = Subscription(
                sender=candidate.name, rules=(), members=frozenset(), deliver=self._take
            )
            owner = await stack.enter_async_context(self._link.subscribed(subscription))
            self._owners.setdefault(candidate.name, owner)

    def _take(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if isinstance(signal, Signal) and signal.member == "NameOwnerChanged":
                name, _, owner = signal.body
                self._owners[str(name)] = str(owner)
                self._moved.set()

    async def first(self) -> Candidate:
        """Wait for the first that is there, and of use."""
        while (found := await self._there(self._candidates)) is None:
            await self._news()
        return found

    async def _there(self, candidates: Sequence[Candidate]) -> Candidate | None:
        self._moved.clear()
        for candidate in candidates:
            if self._owners[candidate.name] and await candidate.usable(self._link):
                return candidate
        return None

    async def _news(self) -> None:
        """Wait until somebody comes or goes; raises ``ProviderLost`` with the bus."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                lost = group.create_task(self._end_with_bus(), name="mdns: bus")
                await self._moved.wait()
                lost.cancel()

    async def over(self, chosen: Candidate) -> Never:
        """Wait until one goes, or one comes that is to be preferred; raises ``ProviderLost``."""
        owner = self._owners[chosen.name]
        better = self._candidates[: self._candidates.index(chosen)]
        while self._owners[chosen.name] == owner:
            await self._news()
            try:
                if found := await self._there(better):
                    raise ProviderLost(f"{found.name} is there")
            except (CallError, TimeoutError) as error:
                log.debug("no better one yet: %s", error)
            except BusLost as lost:
                raise ProviderLost(f"bus: {lost}") from lost
        raise ProviderLost(f"{chosen.name} went")

    async def _end_with_bus(self) -> Never:
        raise ProviderLost(f"bus: {await self._link.wait_closed()}")
