"""The instances that ``watch`` shows, and the records of each: what an event adds to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from koi_agent.bus.client import CallError
from koi_agent.cli import resolve
from koi_agent.cli.async_client import AsyncClient
from koi_agent.cli.events import AGENT_STARTED, Event
from koi_agent.core import lookup
from koi_agent.core.dbus_names import INSTANCE
from koi_agent.core.key import Key
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES

Records = Mapping[str, Mapping[str, Any]]
"""The records of an instance by name, each in its JSON form."""
WITHDRAWN = "withdrawn"
"""The status of a record that an instance no longer requests."""


class Watched:
    """The watched instances; without ``words``, all are."""

    def __init__(self, client: AsyncClient, words: Sequence[str]) -> None:
        self._client = client
        self._words = words
        self._meant: set[Key] = set()
        self._records: dict[Key, Records] = {}

    async def list(self) -> None:
        """Read all instances, in order to know which records change; none without an agent."""
        self._meant.clear()
        self._records.clear()
        try:
            instances = await self._client.instances()
        except (CallError, TimeoutError):
            return
        for values in instances:
            self._store(INSTANCE_PROPERTIES.record(values))

    async def seen(self, event: Event) -> Event | None:
        """Return an event with the records that it changes, or ``None`` if it is not watched."""
        if event.kind == AGENT_STARTED:
            await self.list()
        if not event.id:
            is_of_backend = bool(event.backend)
            return None if is_of_backend and self._words else event
        key = Key(event.backend, event.id)
        if self._words or "announcements" in event.changed:
            event = replace(event, records=await self._changes(key))
        is_watched = not self._words or key in self._meant or self._means(event)
        if event.kind == "stopped":
            self._meant.discard(key)
            self._records.pop(key, None)
        return event if is_watched else None

    async def _changes(self, key: Key) -> Sequence[Mapping[str, Any]]:
        """Read an instance; return its records that have changed since it was read before."""
        try:
            values = await self._client.properties(resolve.path_of(key), INSTANCE)
        except (CallError, TimeoutError):  # it has stopped
            return ()
        return self._store(INSTANCE_PROPERTIES.record(values))

    def _store(self, record: dict[str, Any]) -> Sequence[Mapping[str, Any]]:
        key = Key(record["backend"], record["id"])
        if any(lookup.find(word, [resolve.subject(record)]) for word in self._words):
            self._meant.add(key)
        now = {str(one["name"]): one for one in record["announcements"]}
        before, self._records[key] = self._records.get(key, {}), now
        return list(changes(before, now))

    def _means(self, event: Event) -> bool:
        """Return True if a word means an instance of which only the event is known."""
        subject = lookup.Subject(key=Key(event.backend, event.id), name=event.name)
        return any(lookup.find(word, [subject]) for word in self._words)


def changes(before: Records, now: Records) -> Iterable[Mapping[str, Any]]:
    """Yield name, status and reason of each record that differs; one that is gone is withdrawn."""
    for name in (*now, *(name for name in before if name not in now)):
        old, new = before.get(name), now.get(name)
        if new is None:
            yield {"name": name, "status": WITHDRAWN, "reason": None}
        elif old is None or (old["status"], old["reason"]) != (new["status"], new["reason"]):
            yield {"name": name, "status": new["status"], "reason": new["reason"]}
