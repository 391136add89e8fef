"""The outlet for Traefik's file provider: one file, which is replaced as a whole.

The first line is a comment with the mark of this agent. A file without it belongs to others and is
never changed. JSON is YAML, which Traefik reads.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Final, Never

from koi_agent.bus.address import address as bus_address
from koi_agent.bus.end import ends_for_good
from koi_agent.capabilities.proxy.records import Route
from koi_agent.capabilities.proxy.sites import sites
from koi_agent.capabilities.proxy.traefik import NO_ROUTES, text_in_slices
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.text import printable
from koi_agent.host.agent_mark import own_mark
from koi_agent.host.files import replace

log = logging.getLogger(__name__)

NAME: Final = "traefik"
PAGE: Final = "/v1/proxy/traefik"
PERIOD: Final = 0.5
"""Seconds between two writes. Traefik waits 2 s between two configurations."""
_LONGEST_LINE: Final = 1000
"""Characters of the first line that are read."""


def file_of(scope: str, path: str, report: Report) -> "TraefikFile":
    """Return the file at ``path`` of the agent of a scope."""
    return TraefikFile(Path(path), own_mark(scope), report)


async def withdraw(scope: str, path: str) -> None:
    """Remove all routes from the file, unless the agent starts again at once."""
    if await ends_for_good(bus_address(scope)):
        file_of(scope, path, lambda *_: None).clear()


class TraefikFile:
    """The routes in the file at ``path``; ``mark`` is in its first line."""

    def __init__(self, path: Path, mark: str, report: Report) -> None:
        self._path = path
        self._head = f"# Written by koi-runtime, agent {mark}. Changes are lost.\n"
        self._report = report
        self._routes: dict[Key, Sequence[Route]] = {}
        self._waiting: dict[Key, None] = {}
        self._changed = asyncio.Event()
        self._changed.set()  # the file of an earlier run may have other routes
        self._completed = asyncio.Event()

    def check(self) -> None:
        """Raise ``ProviderLost`` if the file belongs to others or can't be read."""
        self._own(_LONGEST_LINE)

    def _own(self, most: int) -> str:
        """Return the start of the file, "" without one; raise ``ProviderLost`` as above."""
        text = self._read(most)
        if text and not text.startswith(self._head):
            raise self._lost("this agent did not write it; remove it, or name another file")
        return text

    def _read(self, most: int) -> str:
        """Return the start of any file, "" without one; raise ``ProviderLost``."""
        try:
            if not S_ISREG(self._path.stat().st_mode):  # reading a pipe could wait for a writer
                raise self._lost("it is not a regular file")
            with self._path.open(encoding="utf-8", errors="replace", newline="") as file:
                return file.read(most)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise self._lost(error.strerror or "it can't be read") from error

    def _lost(self, reason: str) -> ProviderLost:
        return ProviderLost(f"[Proxy] TraefikFile={printable(str(self._path))}: {reason}")

    async def put(self, owner: Key, records: Sequence[Route]) -> None:
        """Set the routes of an owner; they are written within ``PERIOD``."""
        if self._routes.get(owner, ()) != records:
            self._routes[owner] = records
            self._waiting[owner] = None
            self._changed.set()
        self._report_on(owner)

    def complete(self) -> None:
        """Mark the routes as complete: the file can be written.

        The file of a killed run stays until then, so that its routes are still served.
        """
        self._completed.set()

    async def run(self) -> Never:
        """Write what changes until cancelled; raise ``ProviderLost``."""
        await self._completed.wait()
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._routes = {owner: routes for owner, routes in self._routes.items() if routes}
            routes = dict(self._routes)  # others may come while the text is made
            found = sites(route for of_owner in routes.values() for route in of_owner)
            self._write(await text_in_slices(found))
            waiting, self._waiting = self._waiting, {}
            for owner in waiting:
                if self._routes.get(owner, ()) != routes.get(owner, ()):
                    self._waiting[owner] = None
                self._report_on(owner)
            await asyncio.sleep(PERIOD)

    def _write(self, text: str) -> None:
        """Replace the file if it has another text; raise ``ProviderLost``."""
        whole = f"{self._head}{text}\n"
        if self._own(len(whole) + 1) == whole:
            return
        try:
            replace(self._path, whole)
        except OSError as error:
            raise self._lost(error.strerror or "it can't be written") from error

    def clear(self) -> None:
        """Remove all routes from the file, unless others wrote it. An error is logged.

        Traefik keeps the routes of a file that is removed. So it stays, or is written again.
        """
        try:
            if self._read(len(self._head)) in ("", self._head) and self._path.parent.is_dir():
                self._write(NO_ROUTES)
        except ProviderLost as error:
            log.warning("%s; remove its routes", error)

    def _report_on(self, owner: Key) -> None:
        if routes := self._routes.get(owner):
            is_written = owner not in self._waiting
            state = RecordState.ANNOUNCED if is_written else RecordState.WANTED
            reason = "" if is_written else "it is written to the file soon"
            self._report(owner, [_status(one, state, reason) for one in routes])


class Polled:
    """Routes without a file: Traefik requests them, and the agent can't see whether it does."""

    def __init__(self, report: Report) -> None:
        self._report = report

    async def put(self, owner: Key, records: Sequence[Route]) -> None:
        """Report that the routes of an owner are at ``PAGE``."""
        reason = f"Traefik gets it from {PAGE}"
        self._report(owner, [_status(one, RecordState.WANTED, reason) for one in records])

    async def run(self) -> Never:
        """Wait until cancelled."""
        await asyncio.Event().wait()
        raise AssertionError("nothing ends the wait")


def _status(route: Route, state: RecordState, reason: str) -> RecordStatus:
    return RecordStatus(name=route.title, state=state, provider=NAME, reason=reason)
