"""One session of the hook: it ends when systemd-resolved leaves the bus, or with the hook."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Never

from koi_agent.bus.presence import Presence
from koi_agent.capabilities.dns.hook.file import HOOK
from koi_agent.capabilities.dns.hook.names import HookNames
from koi_agent.capabilities.dns.hook.settings import HookSettings
from koi_agent.capabilities.dns.names_file import NamesFile
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.resolved import arrival, departure
from koi_agent.capabilities.dns.withdrawal import withdraw_from
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.key import Key
from koi_agent.host.path_watch import path_states, wait_for_change


@asynccontextmanager
async def following(settings: HookSettings, report: Report) -> AsyncIterator[ProviderSession[Name]]:
    """Wait for systemd-resolved and for the hook, and write until the context is left.

    Raises ``ProviderLost``.
    """
    async with arrival(settings.address) as presence:
        await _arrival_of(settings)
        names = HookNames(settings.domains, settings.ttl)
        file = NamesFile(settings.file, HOOK, names, report)
        yield _Session(file, presence, settings)


async def withdraw(settings: HookSettings) -> None:
    """Withdraw all names at the end of the agent."""
    await withdraw_from(settings.file, HOOK, settings.address)


async def _arrival_of(settings: HookSettings) -> None:
    paths = _paths(settings)
    while True:
        state = path_states(paths)
        if not settings.missing():
            return
        await wait_for_change(paths, state)


async def _end_of(settings: HookSettings) -> Never:
    paths = _paths(settings)
    while True:
        state = path_states(paths)
        if missing := settings.missing():
            raise ProviderLost(missing)
        await wait_for_change(paths, state)


def _paths(settings: HookSettings) -> Sequence[str]:
    return [str(settings.socket), str(settings.service)]


class _Session:
    """A session that ends with systemd-resolved, and with the hook."""

    def __init__(self, file: NamesFile, presence: Presence, settings: HookSettings) -> None:
        self._file = file
        self._presence = presence
        self._settings = settings

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        await self._file.put(owner, records)

    def complete(self) -> None:
        self._file.complete()

    async def run(self) -> Never:
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(departure(self._presence), name="dns: systemd-resolved")
                group.create_task(_end_of(self._settings), name="dns: hook")
                await self._file.run()
        raise AssertionError("a file is written until the task is cancelled")
