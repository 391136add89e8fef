"""A file with names for a program of this host. It is always replaced as a whole."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Never, Protocol

from koi_agent.capabilities.dns.records import Name
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.text import printable
from koi_agent.host.files import replace

log = logging.getLogger(__name__)


class Content(Protocol):
    """The names of all owners, and the text of a file with them."""

    def put(self, owner: Key, names: Sequence[Name]) -> bool:
        """Set the names of an owner; return True if the text may change."""

    def text(self) -> str: ...


@frozen(kw_only=True)
class Format:
    """A kind of file. ``outlet`` is the name of its outlet, and ``empty`` its text without names.

    ``pause`` returns the seconds until the next write from the duration of a write. ``waiting`` is
    the reason for a name that is not written yet. ``withdrawal`` is how an administrator removes
    names.
    """

    outlet: str
    empty: str
    pause: Callable[[float], float]
    waiting: str
    withdrawal: str


class NamesFile:
    """The names of ``content`` in the file at ``path``; ``report`` gets the status of each."""

    def __init__(self, path: Path, form: Format, content: Content, report: Report) -> None:
        self._path = path
        self._form = form
        self._content = content
        self._report = report
        self._waiting: dict[Key, Sequence[Name]] = {}
        self._changed = asyncio.Event()
        self._changed.set()  # the file of an earlier run may have other names
        self._completed = asyncio.Event()

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        """Set the names of an owner, which are written next."""
        if self._content.put(owner, records):
            self._changed.set()
            self._waiting[owner] = records
        self._report_on(owner, records)

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
            await asyncio.sleep(self._form.pause(loop.time() - began))

    def _write(self) -> None:
        try:
            replace(self._path, self._content.text())
        except OSError as error:
            raise ProviderLost(f"{printable(str(self._path))}: {error.strerror}") from error
        written, self._waiting = self._waiting, {}
        for owner, records in written.items():
            self._report_on(owner, records)

    def _report_on(self, owner: Key, records: Sequence[Name]) -> None:
        state, reason = RecordState.ANNOUNCED, ""
        if owner in self._waiting:
            state, reason = RecordState.WANTED, self._form.waiting
        self._report(
            owner,
            [
                RecordStatus(name=one.title, state=state, provider=self._form.outlet, reason=reason)
                for one in records
            ],
        )


def clear(path: Path, form: Format) -> None:
    """Remove all names from a file that exists. An error is logged."""
    empty = form.empty.encode()
    try:
        with path.open("rb") as file:
            has_names = file.read(len(empty) + 1) != empty
        if has_names:
            replace(path, form.empty)
    except FileNotFoundError:
        return
    except OSError as error:
        text = "%s: DNS names can't be withdrawn: %s; %s"
        log.warning(text, printable(str(path)), error.strerror, form.withdrawal)
