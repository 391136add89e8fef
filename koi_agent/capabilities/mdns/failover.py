"""Failover: uses the first provider that runs, and changes over when a better one appears."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Never, Protocol

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.errors import BusLost
from koi_agent.bus.presence import Presence
from koi_agent.capabilities.mdns.records import MdnsRecord
from koi_agent.core.contracts import Provider, ProviderSession, Report
from koi_agent.core.errors import ProviderChanged, ProviderLost, ungrouped
from koi_agent.core.frozen import frozen
from koi_agent.core.key import Key

log = logging.getLogger(__name__)


class Candidate(Provider[MdnsRecord], Protocol):
    """A provider that is present while ``name`` has an owner on the bus."""

    @property
    def name(self) -> str: ...

    async def usable(self, link: Connection) -> bool:
        """Return True if it publishes at all; raise as ``Connection.call`` does."""


@frozen()
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
                choice = _Choice(link, self.candidates)
                await choice.watch(stack)
                chosen = await choice.first()
            except (BusLost, CallError, OSError) as error:  # TimeoutError is a subclass
                reason = str(error) or "no answer"
                raise ProviderLost(f"bus at {self.address}: {reason}") from error
            session = await stack.enter_async_context(chosen.session(report))
            yield _Session(session, choice, chosen)


class _Session:
    """A session that ends when another candidate takes over."""

    def __init__(
        self, session: ProviderSession[MdnsRecord], choice: "_Choice", chosen: Candidate
    ) -> None:
        self._session = session
        self._choice = choice
        self._chosen = chosen

    async def put(self, owner: Key, records: Sequence[MdnsRecord]) -> None:
        await self._session.put(owner, records)

    async def run(self) -> Never:
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._choice.wait_for_change(self._chosen), name="mdns: presence")
                await self._session.run()
        raise AssertionError("a session ends by losing its provider")


class _Choice:
    """The candidates that are present, in their order."""

    def __init__(self, link: Connection, candidates: Sequence[Candidate]) -> None:
        self._link = link
        self._candidates = candidates
        self._presence = Presence(link)

    async def watch(self, stack: AsyncExitStack) -> None:
        for candidate in self._candidates:
            await self._presence.watch(stack, candidate.name)

    async def first(self) -> Candidate:
        """Wait for a usable candidate; return the first."""
        while (found := await self._usable(self._candidates)) is None:
            await self._presence.change()
        return found

    async def _usable(self, candidates: Sequence[Candidate]) -> Candidate | None:
        for candidate in candidates:
            if self._presence.owners[candidate.name] and await candidate.usable(self._link):
                return candidate
        return None

    async def wait_for_change(self, chosen: Candidate) -> Never:
        """Raise ``ProviderLost`` when the candidate goes or a better one appears."""
        owner = self._presence.owners[chosen.name]
        better = self._candidates[: self._candidates.index(chosen)]
        while self._presence.owners[chosen.name] == owner:
            try:
                await self._presence.change()
                if found := await self._usable(better):
                    raise ProviderChanged(f"{found.name} is available now")
            except (CallError, TimeoutError) as error:
                log.debug("no better provider yet: %s", error)
            except BusLost as lost:
                raise ProviderLost(f"bus: {lost}") from lost
        raise ProviderLost(f"{chosen.name} left the bus")
