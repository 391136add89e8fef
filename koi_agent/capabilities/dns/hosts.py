"""The outlet for dnsmasq: files in the format of hosts(5), in the directory of ``--hostsdir=``.

Each instance has a file of its own, so that a change costs the same for any number of names. The
name of a file contains the mark of this agent: files of others are never touched. dnsmasq ignores
files that begin with a dot, and reads a file when it is renamed.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Never

from koi_agent.bus.address import address as bus_address
from koi_agent.bus.end import ends_for_good
from koi_agent.capabilities.dns.records import Name
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ProviderRefused
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.text import printable
from koi_agent.host.agent_mark import own_mark
from koi_agent.host.files import replace

log = logging.getLogger(__name__)

NAME: Final = "hosts"


@asynccontextmanager
async def writing(scope: str, path: str, report: Report) -> AsyncIterator["HostsSession"]:
    """Write files until the context is left; raise ``ProviderLost``.

    The files are then removed, unless the agent starts again at once.
    """
    session = HostsSession(Path(path), own_mark(scope), report)
    session.check()
    try:
        yield session
    finally:
        if await ends_for_good(bus_address(scope)):
            session.remove_all()


class HostsSession:
    """The files of one session; their names begin with ``koi-runtime-`` and the mark."""

    def __init__(self, directory: Path, mark: str, report: Report) -> None:
        self._directory = directory
        self._prefix = f"koi-runtime-{mark}-"
        self._report = report
        self._written: dict[str, str] = {}
        self._completed = asyncio.Event()

    def check(self) -> None:
        """Raise ``ProviderLost`` if files can't be written."""
        if not self._directory.is_dir():
            raise ProviderLost(f"[DNS] HostsDirectory={self._directory}: not a directory")
        if not os.access(self._directory, os.W_OK | os.X_OK):
            text = "the agent may not write there; see koi-runtime.conf(5)"
            raise ProviderLost(f"[DNS] HostsDirectory={self._directory}: {text}")

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        """Write the file of an owner, or remove it if no other host reaches the owner."""
        name = self._prefix + hashlib.sha256(str(owner).encode()).hexdigest()[:16]
        lines = sorted(f"{address} {one.name}\n" for one in records for address in one.addresses)
        text = "".join(lines)
        try:
            self._replace(name, text)
        except OSError as error:
            path = printable(str(self._directory / name))
            raise ProviderRefused(f"{path}: {error.strerror}") from error
        self._report(owner, [_status(record) for record in records])

    def _replace(self, name: str, text: str) -> None:
        """Write or remove a file; dnsmasq sees all of it or nothing."""
        if self._written.get(name, "") == text and name in self._written:
            return
        path = self._directory / name
        if not text:
            path.unlink(missing_ok=True)
            self._written.pop(name, None)
            return
        replace(path, text)
        self._written[name] = text

    def complete(self) -> None:
        """Mark the present names as written: other files are of an earlier run."""
        self._completed.set()

    async def run(self) -> Never:
        """Remove the files of an earlier run once the present names are written."""
        await self._completed.wait()
        self._remove(lambda name: name not in self._written)
        await asyncio.Event().wait()
        raise AssertionError("a session runs until it is cancelled")

    def remove_all(self) -> None:
        """Remove all files of this agent."""
        self._remove(lambda _name: True)

    def _remove(self, is_over: Callable[[str], bool]) -> None:
        """Remove files by their names; a file that can't be removed is logged."""
        prefixes = self._prefix, f".{self._prefix}"
        try:
            for path in self._directory.iterdir():
                if path.name.startswith(prefixes) and is_over(path.name):
                    path.unlink(missing_ok=True)
        except OSError as error:
            text = "[DNS] HostsDirectory=%s: a file can't be removed: %s; check its permissions"
            log.warning(text, printable(str(self._directory)), error.strerror)


def _status(record: Name) -> RecordStatus:
    state, reason = RecordState.ANNOUNCED, ""
    if not record.addresses:
        state, reason = RecordState.HELD, "only this host reaches it"
    return RecordStatus(name=record.title, state=state, provider=NAME, reason=reason)
