"""One collection of a cluster, such as the pods of a namespace: its lists and its watch.

A list has a version, from which a watch goes on without a gap. The watch ends within half a minute
and is opened again at the last version that it reported. Bookmarks report versions where nothing
changed.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Final, Never, Protocol

from koi_agent.backends.http_engine.json_fields import JSONObject, get_objects
from koi_agent.backends.kubernetes.api import API, Expired, Interrupted, Query, Refused
from koi_agent.backends.kubernetes.events import Event, EventType, parse_event
from koi_agent.backends.kubernetes.records import get_version
from koi_agent.core.errors import BackendLost, BadInput
from koi_agent.timeouts import timeout

TURN: Final = 20
"""Events or listed objects that are read before other tasks run."""
MAX_LISTS: Final = 3
"""Maximum number of attempts to list, because a server can drop its list before it is complete."""
SOON: Final = 0.5
"""Seconds within which no watch ends by itself."""
TRIES: Final = 3
"""Maximum number of times that an interrupted watch is opened again at the same version."""
_GONE: Final = 410
_NOT_SUPPORTED: Final = (400, 422)
"""Statuses of a server that can't begin a watch with a list."""

Complain = Callable[[str, BadInput], None]
Apply = Callable[[Event], None]


class Found(Protocol):
    """Receives the objects of a list."""

    def add(self, record: JSONObject) -> None:
        """Add an object, or replace an earlier version of it."""

    def discard(self, record: JSONObject) -> None:
        """Remove an object that was deleted while the list was read."""

    def lose(self, bad: BadInput) -> None:
        """Register that an object can't be read. It is not known which one."""

    def clear(self) -> None:
        """Remove all objects, because the list begins again."""


class Collection:
    """The objects at ``path`` that match ``query``.

    ``apply`` is called for each event of the watch; it raises ``BadInput`` for a record that it
    can't use. ``complain`` is called with each such record, and ``doubt`` with a reason if only a
    list can show what is there.
    """

    def __init__(self, api: API, path: str, query: Query, apply: Apply) -> None:
        self._api = api
        self._path = path
        self._query = query
        self._apply = apply
        self._version = 0
        self._newest = 0
        self._listed = asyncio.Event()

    # Lists

    async def list(self, found: Found) -> int:
        """Read all objects into ``found``, and return the version; raise ``BackendLost``.

        If the version is older than what was reported before, the cluster was restored or is
        another one.
        """
        before = self._newest
        version = await self._list_completely(found)
        if version < before:
            raise BackendLost(f"{self._api.server}: the cluster has gone back to an older state")
        self._newest = max(self._newest, version)
        return version

    def follow(self, version: int) -> None:
        """Watch from the version of a list on, if no watch runs."""
        if not self._listed.is_set():
            self._version = version
            self._listed.set()

    async def _list_completely(self, found: Found) -> int:
        for _ in range(MAX_LISTS - 1):
            with suppress(Expired):
                return await self._list(found)
        return await self._list(found)

    async def _list(self, found: Found) -> int:
        tunables = self._api.tunables
        if self._api.streams_lists:
            try:
                async with timeout(tunables.streaming):
                    return await self._api.asked(
                        lambda: self._list_by_stream(found), tunables.tries
                    )
            except Interrupted:
                # A busy server ends a watch whose client is slower than its changes.
                return await self._list_by_pages(found)
            except TimeoutError:
                pass
            except Refused as refused:
                if refused.status not in _NOT_SUPPORTED:
                    raise
            self._api.streams_lists = False
        return await self._list_by_pages(found)

    async def _list_by_stream(self, found: Found) -> int:
        found.clear()  # of an attempt that was not completed
        query: Query = {
            **self._query,
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
        }
        async with self._api.watch(self._path, query) as lines, aclosing(_events(lines)) as events:
            async for event in events:
                if isinstance(event, BadInput):
                    found.lose(event)
                    continue
                if event.type is EventType.ERROR:
                    raise self._error(event)
                if event.ends_list:
                    return _version_of(event.record)
                if event.type is EventType.DELETED:
                    found.discard(event.record)
                elif event.type is EventType.SEEN:
                    found.add(event.record)
        raise Interrupted(f"{self._api.server}: a list has no end")

    async def _list_by_pages(self, found: Found) -> int:
        found.clear()  # of an attempt that was not completed
        version = 0
        async for page in self._api.pages(self._path, self._query):
            for number, record in enumerate(get_objects(page, "items")):
                found.add(record)
                if number % TURN == 0:
                    await asyncio.sleep(0)
            version = version or _version_of(page)
        return version

    # Events

    async def run(self, complain: Complain, doubt: Callable[[str], None]) -> Never:
        """Watch; raise ``BackendLost`` if the server is lost.

        A proxy may cut each quiet watch: only those that end early count as failures.
        """
        loop, tries = asyncio.get_running_loop(), self._api.tunables.watch_tries
        left = TRIES
        while True:
            await self._listed.wait()
            version, began = self._version, loop.time()
            try:
                await self._api.asked(lambda: self._watch(complain, doubt), tries)
            except Expired:
                self._listed.clear()
                doubt("the server no longer has the events since the last list")
            except Interrupted:
                is_early = loop.time() < began + self._api.tunables.settled
                left = left - 1 if is_early and self._version == version else TRIES
                if not left:
                    raise
                doubt("a watch was interrupted")
                await asyncio.sleep(SOON * (TRIES - left))
            else:
                left = TRIES

    async def _watch(self, complain: Complain, doubt: Callable[[str], None]) -> None:
        """Watch until the server ends it in time; raise ``Interrupted`` if it ends before."""
        loop = asyncio.get_running_loop()
        began, version = loop.time(), self._version
        query: Query = {**self._query, "resourceVersion": str(self._version)}
        async with self._api.watch(self._path, query) as lines, aclosing(_events(lines)) as events:
            async for event in events:
                try:
                    self._take(event)
                except BadInput as bad:
                    complain("an event", bad)
                    doubt("an event could not be parsed")
        if self._version == version and loop.time() < began + SOON:
            raise Interrupted(f"{self._api.server}: a watch ended at once")

    def _take(self, event: Event | BadInput) -> None:
        if isinstance(event, BadInput):
            raise event
        if event.type is EventType.ERROR:
            raise self._error(event)
        if event.type is not EventType.BOOKMARK:
            self._apply(event)
        self._version = get_version(event.record)
        self._newest = max(self._newest, self._version)

    def _error(self, event: Event) -> BackendLost:
        text = f"{self._api.server}: a watch failed: {event.message or event.code}"
        return (Expired if event.code == _GONE else BackendLost)(text)


async def _events(
    lines: AsyncGenerator[list[bytes], None],
) -> AsyncGenerator[Event | BadInput, None]:
    """Yield the events of a watch, and what is wrong with those that can't be parsed."""
    number = 0
    async with aclosing(lines):
        async for batch in lines:
            for line in batch:
                yield _event(line)
                number += 1
                if number % TURN == 0:
                    await asyncio.sleep(0)


def _event(line: bytes) -> Event | BadInput:
    try:
        return parse_event(line)
    except BadInput as bad:
        return bad


def _version_of(record: JSONObject) -> int:
    try:
        return get_version(record)
    except BadInput as bad:
        raise BackendLost(f"a list: {bad}") from bad
