"""The file that the hook reads: written as a whole, at once after a change."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Never

from koi_agent.capabilities.dns.hook.names import NO_NAMES, HookNames
from koi_agent.capabilities.dns.records import Name
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.text import printable
from koi_agent.host.files import replace

log = logging.getLogger(__name__)

NAME: Final = "hook"
SHARE: Final = 10
"""A pause is so many times as long as the write before it, which blocks the agent."""


class HookFile:
    """The names in the file at ``path``. ``report`` gets the status of each name."""

    def __init__(self, path: Path, names: HookNames, report: Report) -> None:
        self._path = path
        self._names = names
        self._report = report
        self._waiting: dict[Key, Sequence[Name]] = {}
        self._changed = asyncio.Event()
        self._changed.set()  # the file of an earlier run may have other names
        self._completed = asyncio.Event()

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        """Set the names of an owner, which are written next."""
        if self._names.put(owner, records):
            self._changed.set()
            self._waiting[owner] = records
        is_written = owner not in self._waiting
        self._report(owner, [_status(one, is_written=is_written) for one in records])

    def complete(self) -> None:
        """Mark the names as complete: the file can be written.

        The file of an earlier run stays until then, so that a restart takes no name away.
        """
        self._completed.set()

    async def run(self) -> Never:
        """Write what changes until cancelled; raise ``ProviderLost``."""
        await self._completed.wait()
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            began = loop.time()
            self._write()
            await asyncio.sleep(SHARE * (loop.time() - began))

    def _write(self) -> None:
        try:
            replace(self._path, self._names.text())
        except OSError as error:
            raise ProviderLost(f"{printable(str(self._path))}: {error.strerror}") from error
        written, self._waiting = self._waiting, {}
        for owner, records in written.items():
            self._report(owner, [_status(one, is_written=True) for one in records])


def clear(path: Path) -> None:
    """Remove all names from a file that exists. An error is logged."""
    try:
        with path.open("rb") as file:
            has_names = file.read(len(NO_NAMES) + 1) != NO_NAMES.encode()
        if has_names:
            replace(path, NO_NAMES)
    except FileNotFoundError:
        return
    except OSError as error:
        text = "%s: DNS names can't be withdrawn: %s; use systemctl stop koi-runtime-hook.socket"
        log.warning(text, printable(str(path)), error.strerror)


def _status(record: Name, *, is_written: bool) -> RecordStatus:
    state = RecordState.ANNOUNCED if is_written else RecordState.WANTED
    reason = "" if is_written else "it is written next"
    return RecordStatus(name=record.title, state=state, provider=NAME, reason=reason)
