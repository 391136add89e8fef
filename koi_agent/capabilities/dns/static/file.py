"""The file of static records: written as a whole, and never while it is read."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Never

from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.static.items import Items
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.text import printable
from koi_agent.host.files import replace

log = logging.getLogger(__name__)

NAME: Final = "static"
PERIOD: Final = 2.0
"""Seconds between two writes. systemd-resolved looks as often."""


class StaticFile:
    """The names in the file at ``path``. ``report`` gets the status of each name."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self._items = Items()
        self._waiting: dict[Key, Sequence[Name]] = {}
        self._changed = asyncio.Event()
        self._changed.set()  # the file of an earlier run may have other names
        self._completed = asyncio.Event()

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        """Set the names of an owner; they are written within ``PERIOD``."""
        if self._items.put(owner, records):
            self._changed.set()
            self._waiting[owner] = records
        self._report(
            owner, [_status(one, is_written=owner not in self._waiting) for one in records]
        )

    def complete(self) -> None:
        """Mark the names as complete: the file can be written.

        The file of an earlier run stays until then, so that a restart takes no name away.
        """
        self._completed.set()

    async def run(self) -> Never:
        """Write what changes until cancelled; raise ``ProviderLost``."""
        await self._completed.wait()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                replace(self._path, self._items.text())
            except OSError as error:
                raise ProviderLost(f"{printable(str(self._path))}: {error.strerror}") from error
            written, self._waiting = self._waiting, {}
            for owner, records in written.items():
                self._report(owner, [_status(one, is_written=True) for one in records])
            await asyncio.sleep(PERIOD)


def clear(path: Path) -> None:
    """Remove all records from a file that exists. An error is logged."""
    empty = Items().text()
    try:
        if path.read_text("utf-8", "replace").strip() != empty.strip():
            replace(path, empty)
    except FileNotFoundError:
        return
    except OSError as error:
        text = "%s: DNS names can't be withdrawn: %s; write [] into the file"
        log.warning(text, printable(str(path)), error.strerror)


def _status(record: Name, *, is_written: bool) -> RecordStatus:
    state = RecordState.ANNOUNCED if is_written else RecordState.WANTED
    reason = "" if is_written else f"it is written within {PERIOD:g} s"
    return RecordStatus(name=record.title, state=state, provider=NAME, reason=reason)
