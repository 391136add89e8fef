"""One session of the hook: it ends when systemd-resolved leaves the bus, or with the socket."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Never

from koi_agent.bus.jobs import is_restarted
from koi_agent.bus.presence import Presence
from koi_agent.capabilities.dns.hook.file import HookFile, clear
from koi_agent.capabilities.dns.hook.names import HookNames
from koi_agent.capabilities.dns.hook.settings import NO_SOCKET, HookSettings
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.resolved import arrival, departure
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.key import Key
from koi_agent.host.path_watch import path_states, wait_for_change

AGENT: Final = "koi-runtime.service"


@asynccontextmanager
async def following(settings: HookSettings, report: Report) -> AsyncIterator[ProviderSession[Name]]:
    """Wait for systemd-resolved and for the socket, and write until the context is left.

    Raises ``ProviderLost``.
    """
    async with arrival(settings.address) as presence:
        await _arrival_of(settings.socket)
        with _withdrawn(settings):
            file = HookFile(settings.file, HookNames(settings.domains, settings.ttl), report)
            yield _Session(file, presence, settings.socket)


async def _arrival_of(socket: Path) -> None:
    path = [str(socket)]
    while True:
        state = path_states(path)
        if _is_there(socket):
            return
        await wait_for_change(path, state)


def _is_there(socket: Path) -> bool:
    return socket.exists()


@contextmanager
def _withdrawn(settings: HookSettings) -> Iterator[None]:
    """Withdraw all names at the end of the block, unless the agent starts again at once.

    The file stays also when systemd-resolved or the socket is lost: both may be back soon.
    """
    try:
        yield
    except ProviderLost:
        raise
    except BaseException:
        _withdraw(settings)
        raise
    _withdraw(settings)


def _withdraw(settings: HookSettings) -> None:
    if not is_restarted(AGENT, settings.address):
        clear(settings.file)


class _Session:
    """A session that ends with systemd-resolved, and with the socket of the hook."""

    def __init__(self, file: HookFile, presence: Presence, socket: Path) -> None:
        self._file = file
        self._presence = presence
        self._socket = socket

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        await self._file.put(owner, records)

    def complete(self) -> None:
        self._file.complete()

    async def run(self) -> Never:
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(departure(self._presence), name="dns: systemd-resolved")
                group.create_task(self._end_of_socket(), name="dns: socket of the hook")
                await self._file.run()
        raise AssertionError("a file is written until the task is cancelled")

    async def _end_of_socket(self) -> Never:
        path = [str(self._socket)]
        while True:
            state = path_states(path)
            if not _is_there(self._socket):
                raise ProviderLost(NO_SOCKET)
            await wait_for_change(path, state)
