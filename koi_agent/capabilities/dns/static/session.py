"""One session of static records: it ends when systemd-resolved leaves the system bus."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Never

from koi_agent.bus.presence import Presence
from koi_agent.capabilities.dns.names_file import NamesFile
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.resolved import arrival, departure
from koi_agent.capabilities.dns.static.file import STATIC
from koi_agent.capabilities.dns.static.items import Items
from koi_agent.capabilities.dns.withdrawal import withdraw_from
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.key import Key


@asynccontextmanager
async def following(
    address: str, file: Path, link: Path, report: Report
) -> AsyncIterator[ProviderSession[Name]]:
    """Wait for systemd-resolved on the bus at ``address``, and write until the context is left.

    Raises ``ProviderLost``, for example if ``link`` does not lead to ``file``.
    """
    async with arrival(address) as presence:
        _check(link, file)
        yield _Session(NamesFile(file, STATIC, Items(), report), presence)


async def withdraw(address: str, file: Path) -> None:
    """Withdraw all names at the end of the agent."""
    await withdraw_from(file, STATIC, address)


def _check(link: Path, file: Path) -> None:
    """Raise ``ProviderLost`` if systemd-resolved would not read the file."""
    if link.resolve() != file.resolve():
        raise ProviderLost(f"{link}: no link to {file}; install the package again")


class _Session:
    """A session that ends with systemd-resolved."""

    def __init__(self, file: NamesFile, presence: Presence) -> None:
        self._file = file
        self._presence = presence

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        await self._file.put(owner, records)

    def complete(self) -> None:
        self._file.complete()

    async def run(self) -> Never:
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(departure(self._presence), name="dns: systemd-resolved")
                await self._file.run()
        raise AssertionError("a file is written until the task is cancelled")
