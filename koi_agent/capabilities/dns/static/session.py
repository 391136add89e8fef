"""One session of static records: it ends when systemd-resolved leaves the system bus."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Never

from koi_agent.bus.client import connected
from koi_agent.bus.errors import BusLost, CallError
from koi_agent.bus.presence import Presence
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.static.file import StaticFile, clear
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.key import Key
from koi_agent.host.resolver import RESOLVED


@asynccontextmanager
async def following(
    address: str, file: Path, link: Path, report: Report
) -> AsyncIterator[ProviderSession[Name]]:
    """Wait for systemd-resolved on the bus at ``address``, and write until the context is left.

    Raises ``ProviderLost``, also if ``link`` does not lead to ``file``.
    """
    async with AsyncExitStack() as stack:
        try:
            presence = Presence(await stack.enter_async_context(connected(address)))
            await presence.watch(stack, RESOLVED)
            while not presence.owners[RESOLVED]:
                await presence.change()
        except (BusLost, CallError, OSError) as error:  # a TimeoutError is one, too
            raise ProviderLost(f"bus at {address}: {str(error) or 'no answer'}") from error
        _check(link, file)
        with _withdrawn(file):
            yield _Session(StaticFile(file, report), presence)


def _check(link: Path, file: Path) -> None:
    """Raise ``ProviderLost`` if systemd-resolved would not read the file."""
    if link.resolve() != file.resolve():
        raise ProviderLost(f"{link}: no link to {file}; install the package again")


@contextmanager
def _withdrawn(file: Path) -> Iterator[None]:
    """Withdraw all records at the end of the block.

    The file stays when systemd-resolved is lost: it reads the file again when it is back.
    """
    try:
        yield
    except ProviderLost:
        raise
    except BaseException:
        clear(file)
        raise
    clear(file)


class _Session:
    """A session that ends with systemd-resolved."""

    def __init__(self, file: StaticFile, presence: Presence) -> None:
        self._file = file
        self._presence = presence

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        await self._file.put(owner, records)

    def complete(self) -> None:
        self._file.complete()

    async def run(self) -> Never:
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._departure(), name="dns: systemd-resolved")
                await self._file.run()
        raise AssertionError("a file is written until the task is cancelled")

    async def _departure(self) -> Never:
        """Raise ``ProviderLost`` when systemd-resolved goes or starts again."""
        first = self._presence.owners[RESOLVED]
        while self._presence.owners[RESOLVED] == first:
            try:
                await self._presence.change()
            except BusLost as lost:
                raise ProviderLost(f"bus: {lost}") from lost
        raise ProviderLost("systemd-resolved left the bus")
