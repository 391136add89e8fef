"""ObjectManager: all objects in one answer, and the signals that keep it true.

An object's entry is marshalled once and kept until a property changes: five thousand objects
are then joined in milliseconds instead of marshalled in half a second of silence. The bytes
of an entry are at the same time the whole body of its InterfacesAdded.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from koi_agent.bus.client import Connection
from koi_agent.bus.interfaces import Emits, Interface
from koi_agent.bus.marshalling import U32, Typed, marshal
from koi_agent.bus.messages import Header, MessageType, padded

OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
SLICE = 20
"""Objects marshalled before others get a turn: about two milliseconds."""

Interfaces = Sequence[tuple[Interface, Any]]
"""The interfaces of an object, each with the source of its properties."""
Found = Callable[[str], Interfaces]


class ObjectManager:
    """The objects below one root; ``found`` tells a path's interfaces and their subjects."""

    def __init__(self, root: str, found: Found) -> None:
        self.root = root
        self._found = found
        self._entries: dict[str, bytes] = {}

    def entry(self, path: str) -> bytes:
        """Marshal an object's path, interfaces and properties, or find them marshalled."""
        if kept := self._entries.get(path):
            return kept
        return self._put(path, self._found(path))

    def _put(self, path: str, interfaces: Interfaces) -> bytes:
        """Marshal an object's entry and keep it."""
        values = {each.name: properties(each, subject) for each, subject in interfaces}
        entry = self._entries[path] = marshal("oa{sa{sv}}", (path, values))
        return entry

    async def answer(self, paths: Callable[[], Sequence[str]]) -> bytes:
        """Marshal GetManagedObjects' answer, in slices; true at the moment it returns."""
        gone: set[str] = set()
        while missing := [p for p in paths() if p not in self._entries and p not in gone]:
            for at, path in enumerate(missing, 1):
                if self._found(path):
                    self.entry(path)
                else:
                    gone.add(path)
                if at % SLICE == 0:
                    await asyncio.sleep(0)
        return joined([self._entries[path] for path in paths() if path in self._entries])

    def added(self, link: Connection, path: str, interfaces: Interfaces) -> None:
        """Emit InterfacesAdded."""
        self._emit(link, "InterfacesAdded", "oa{sa{sv}}", self._put(path, interfaces))

    def removed(self, link: Connection, path: str, interfaces: Sequence[str]) -> None:
        """Emit InterfacesRemoved."""
        self._entries.pop(path, None)
        self._emit(link, "InterfacesRemoved", "oas", marshal("oas", (path, interfaces)))

    def changed(
        self, link: Connection, path: str, shown: Interface, subject: Any, names: Sequence[str]
    ) -> None:
        """Emit PropertiesChanged for those of ``names`` whose changes are told."""
        self._entries.pop(path, None)
        emits = {name: shown.properties[name].emits for name in names}
        values = {
            name: Typed(shown.properties[name].signature, shown.properties[name].get(subject))
            for name, how in emits.items()
            if how is Emits.TRUE
        }
        invalid = [name for name, how in emits.items() if how is Emits.INVALIDATES]
        if values or invalid:
            body = marshal("sa{sv}as", (shown.name, values, invalid))
            header = Header(
                kind=MessageType.SIGNAL,
                path=path,
                interface=PROPERTIES,
                member="PropertiesChanged",
                signature="sa{sv}as",
            )
            link.send(header, body)

    def clear(self) -> None:
        """Drop all that is kept, for a new bus whose clients know nothing yet."""
        self._entries.clear()

    def forget(self, path: str) -> None:
        """Drop what is kept of an object whose properties changed without a word."""
        self._entries.pop(path, None)

    def _emit(self, link: Connection, member: str, signature: str, body: bytes) -> None:
        header = Header(
            kind=MessageType.SIGNAL,
            path=self.root,
            interface=OBJECT_MANAGER,
            member=member,
            signature=signature,
        )
        link.send(header, body)


def properties(shown: Interface, subject: Any) -> dict[str, Typed]:
    """Read all properties of an interface."""
    return {
        prop.name: Typed(prop.signature, prop.get(subject)) for prop in shown.properties.values()
    }


def joined(entries: Sequence[bytes]) -> bytes:
    """Make an ``a{oa{sa{sv}}}`` of marshalled entries: each begins at a multiple of 8."""
    parts = [entry + bytes(padded(len(entry)) - len(entry)) for entry in entries[:-1]]
    body = b"".join([*parts, *entries[-1:]])
    return U32.pack(len(body)) + bytes(4) + body
